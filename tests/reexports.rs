//! The facade: every layer under its name, the few names everybody types at the root.

#[test]
fn every_layer_has_a_module_and_the_famous_names_are_at_the_root() {
    fn same<A: 'static, B: 'static>() {
        assert_eq!(std::any::TypeId::of::<A>(), std::any::TypeId::of::<B>());
    }
    same::<informer::ObjectKey, informer::store::ObjectKey>();
    same::<informer::Cache<()>, informer::store::Cache<()>>();
    same::<informer::WorkQueue<u8>, informer::workqueue::WorkQueue<u8>>();
    same::<informer::Informer<()>, informer::informer::Informer<()>>();
    same::<informer::deltafifo::Config, informer::deltafifo::Config>();
    same::<informer::reflector::SyncState, informer::reflector::SyncState>();
    same::<informer::controller::Action, informer::Action>();
}
