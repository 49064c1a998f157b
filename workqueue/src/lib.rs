//! The `workqueue` layer of the informer pipeline.
