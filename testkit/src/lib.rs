//! The `testkit` layer of the informer pipeline.
