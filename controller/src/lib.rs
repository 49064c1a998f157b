//! The `controller` layer of the informer pipeline.
