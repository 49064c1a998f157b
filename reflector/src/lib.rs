//! The `reflector` layer of the informer pipeline.
