"""A kopf operator against the server: a whole cycle of handlers with a finalizer."""
import asyncio
import sys
import threading

import kopf
from kubernetes import client

seen: list[str] = []


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_):
    settings.posting.enabled = False
    settings.scanning.disabled = False


@kopf.on.create("example.net", "v1", "things")
def created(spec, patch, **_):
    seen.append("create")
    patch.status["made"] = spec.get("size", 0)


@kopf.on.update("example.net", "v1", "things")
def updated(diff, **_):
    seen.append("update")


@kopf.on.delete("example.net", "v1", "things")
def deleted(**_):
    seen.append("delete")


def main(url: str) -> None:
    configuration = client.Configuration()
    configuration.host = url
    api = client.ApiClient(configuration)
    custom = client.CustomObjectsApi(api)
    client.ApiextensionsV1Api(api).create_custom_resource_definition({
        "metadata": {"name": "things.example.net"},
        "spec": {
            "group": "example.net", "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}],
        },
    })

    @kopf.on.login()
    def login(**_):
        return kopf.ConnectionInfo(server=url)

    ready, stop = threading.Event(), threading.Event()

    def operate():
        asyncio.run(kopf.operator(namespaces=["default"], ready_flag=ready, stop_flag=stop, standalone=True))

    operator = threading.Thread(target=operate)
    operator.start()
    try:
        assert ready.wait(20), "the operator did not start"
        things = ("example.net", "v1", "default", "things")

        def until(what: str, holds) -> None:
            for _ in range(200):
                if holds():
                    return
                stop.wait(0.1)
            raise AssertionError(f"never happened: {what}; handlers seen: {seen}")

        custom.create_namespaced_custom_object(*things, {
            "apiVersion": "example.net/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"size": 2},
        })
        until("the create handler's status", lambda: custom.get_namespaced_custom_object(*things, "t").get("status", {}).get("made") == 2)
        held = custom.get_namespaced_custom_object(*things, "t")["metadata"]["finalizers"]
        assert held == ["kopf.zalando.org/KopfFinalizerMarker"], held
        custom.patch_namespaced_custom_object(*things, "t", {"spec": {"size": 3}})
        until("the update handler", lambda: "update" in seen)
        custom.delete_namespaced_custom_object(*things, "t")
        until("the end of the object", lambda: custom.list_namespaced_custom_object(*things)["items"] == [])
        assert seen == ["create", "update", "delete"], seen
    finally:
        stop.set()
        operator.join(20)
    print("kopf: all well")


if __name__ == "__main__":
    main(sys.argv[1])
