//! The Kubernetes informer pipeline.
