//! Real clients over loopback: kubectl, kopf, the Python client, kube-client and kube-runtime.
//!
//! The first three come from Python's package index; `.ci/clients` puts them into a virtual environment. Where there is
//! none, their tests say so in one line and pass.

mod clients {
    mod kube;
    mod kubectl;
    mod outside;
}
