"""The Python client against the server: create, read, change, list, watch, delete."""
import sys

from kubernetes import client, watch
from kubernetes.client.rest import ApiException


def main(url: str) -> None:
    configuration = client.Configuration()
    configuration.host = url
    api = client.ApiClient(configuration)
    core = client.CoreV1Api(api)
    apps = client.AppsV1Api(api)
    custom = client.CustomObjectsApi(api)
    extensions = client.ApiextensionsV1Api(api)

    assert client.VersionApi(api).get_code().major == "1"
    made = core.create_namespaced_config_map("default", {"metadata": {"name": "a", "labels": {"app": "py"}}, "data": {"k": "v"}})
    assert made.metadata.uid and made.metadata.resource_version
    assert core.read_namespaced_config_map("a", "default").data == {"k": "v"}

    made.data = {"k": "w"}
    replaced = core.replace_namespaced_config_map("a", "default", made)
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    try:
        core.replace_namespaced_config_map("a", "default", made)
        raise AssertionError("an old version must be refused")
    except ApiException as error:
        assert error.status == 409, error
    patched = core.patch_namespaced_config_map("a", "default", {"data": {"l": "x"}})
    assert patched.data == {"k": "w", "l": "x"}
    listed = core.list_namespaced_config_map("default", label_selector="app=py")
    assert [item.metadata.name for item in listed.items] == ["a"]

    # Pages join to the whole list.
    for number in range(5):
        core.create_namespaced_config_map("default", {"metadata": {"name": f"p{number}"}})
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map("default", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == ["a", "p0", "p1", "p2", "p3", "p4"], names

    # A watch from the list's version sees every later change, in order.
    version = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", {"metadata": {"name": "w"}})
    core.patch_namespaced_config_map("w", "default", {"data": {"n": "1"}})
    core.delete_namespaced_config_map("w", "default")
    seen = []
    for event in watch.Watch().stream(
        core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=5
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            break
    assert seen == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")], seen

    pod = core.create_namespaced_pod("default", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
    assert pod.status.phase == "Pending"
    status = core.patch_namespaced_pod_status("p", "default", {"status": {"phase": "Running"}})
    assert status.status.phase == "Running"
    deployment = apps.create_namespaced_deployment("default", {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}},
    })
    assert deployment.spec.replicas == 1 and deployment.metadata.generation == 1
    assert apps.patch_namespaced_deployment_scale("d", "default", {"spec": {"replicas": 3}}).spec.replicas == 3
    assert apps.read_namespaced_deployment("d", "default").metadata.generation == 2
    gone = core.delete_namespaced_config_map("a", "default")
    assert (gone["status"] if isinstance(gone, dict) else gone.status) == "Success", gone
    try:
        core.read_namespaced_config_map("a", "default")
        raise AssertionError("a deleted object must be gone")
    except ApiException as error:
        assert error.status == 404 and "not found" in error.body, error

    extensions.create_custom_resource_definition({
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer", "default": 3}}}}}}}],
        },
    })
    custom.create_namespaced_custom_object("example.org", "v1", "default", "widgets", {
        "apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"other": 1},
    })
    widget = custom.get_namespaced_custom_object("example.org", "v1", "default", "widgets", "w")
    assert widget["spec"] == {"size": 3}, widget
    print("python client: all well")


if __name__ == "__main__":
    main(sys.argv[1])
