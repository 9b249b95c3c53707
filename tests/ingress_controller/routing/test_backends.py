from k8s_objects import endpoint_slice, service, values_of

from ingress_controller.model.ingress import PortRef
from ingress_controller.model.problem import ObjectKey
from ingress_controller.routing.backends import Found, Observed, Resolved, find
from proxy.table import Endpoint

KEY = ObjectKey("Service", "shop", "api")


def found(*objects: dict[str, object], port: PortRef, resolved: Resolved | None = None) -> Found:
    values = values_of(objects)
    of = ("shop", "api")
    slices = values.slices.get(of, ())
    return find(KEY, port, Observed(values.services.get(of), slices, resolved))


def test_an_endpoint_without_conditions_is_ready_and_a_terminating_one_is_not() -> None:
    piece = endpoint_slice(
        "api",
        "10.0.0.1",
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": None}},
        {
            "addresses": ["10.0.0.4"],
            "conditions": {"ready": False, "serving": True, "terminating": True},
        },
    )

    endpoints = found(service(), piece, port=PortRef(number=80)).endpoints

    assert [endpoint.address for endpoint in endpoints] == ["10.0.0.1", "10.0.0.3"]


def test_an_endpoint_knows_its_pod_node_and_zone() -> None:
    piece = endpoint_slice(
        "api",
        {
            "addresses": ["10.0.0.1", "10.0.0.9"],
            "nodeName": "node-a",
            "zone": "zone-1",
            "targetRef": {"kind": "Pod", "name": "api-x"},
        },
    )

    endpoints = found(service(), piece, port=PortRef(number=80)).endpoints

    assert endpoints == (Endpoint("10.0.0.1", 9_000, "api-x", "node-a", "zone-1"),)


def test_the_port_of_each_slice_is_found_by_the_name_of_the_service_port() -> None:
    ports = [{"port": 80, "name": "http", "targetPort": "web"}, {"port": 90, "name": "metrics"}]
    old = endpoint_slice("api", "10.0.0.1", ports=[{"name": "http", "port": 8_080}], name="old")
    new = endpoint_slice(
        "api",
        "10.0.0.2",
        ports=[{"name": "metrics", "port": 9}, {"name": "http", "port": 8_081}],
        name="new",
    )

    endpoints = found(service("api", *ports), old, new, port=PortRef(number=80)).endpoints

    assert [(e.address, e.port) for e in endpoints] == [("10.0.0.1", 8_080), ("10.0.0.2", 8_081)]


def test_an_endpoint_in_two_slices_is_one_endpoint() -> None:
    one = endpoint_slice("api", "10.0.0.1", "10.0.0.2", name="one")
    two = endpoint_slice("api", "10.0.0.2", name="two")

    endpoints = found(service(), one, two, port=PortRef(number=80)).endpoints

    assert [endpoint.address for endpoint in endpoints] == ["10.0.0.1", "10.0.0.2"]


def test_null_lists_of_the_api_server_are_empty_lists() -> None:
    piece = endpoint_slice("api") | {"endpoints": None, "ports": None}

    result = found(service(), piece, port=PortRef(number=80))

    assert result == Found()


def test_a_udp_port_is_not_an_http_port() -> None:
    result = found(service("api", {"port": 80, "protocol": "UDP"}), port=PortRef(number=80))

    assert result.missing == "Service shop/api has no TCP port 80."


def test_an_external_name_with_no_address_says_so_on_the_service() -> None:
    external = service(type="ExternalName", externalName="nope.example")

    result = found(external, port=PortRef(number=80), resolved=Resolved(error="no such name"))

    assert [str(problem) for problem in result.problems] == [
        'Service shop/api, spec.externalName: The DNS name "nope.example" has no address:'
        " no such name. Correct the name, or look at the DNS."
    ]
