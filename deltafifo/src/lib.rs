//! The `deltafifo` layer of the informer pipeline.
