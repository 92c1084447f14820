"""What is on offer where, over both wires, and that placement obeys it."""

import json
from importlib import resources
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.pods import DEPLOY, GPU_TYPE
from support.sim import SimServer

OPENAPI = json.loads((resources.files("runpod_sim") / "openapi.json").read_text())
STOCK = "include=AVAILABILITY&product=POD"


def gpu(sim: SimServer, query: str, gpu_type: str = GPU_TYPE) -> dict[str, Any]:
    status, shown = sim.rest(
        "GET", f"catalog/gpus/{gpu_type.replace(' ', '%20')}?{query}"
    )
    assert status == 200, shown
    assert isinstance(shown, dict)
    return shown


def sites(shown: dict[str, Any]) -> set[str]:
    return {center["id"] for center in shown.get("dataCenters", [])}


def hosts(sim: SimServer, gpu_type: str = GPU_TYPE, cloud: str = "SECURE") -> Any:
    return [
        machine
        for machine in sim.world()["machines"]
        if (machine["gpu_type_id"], machine["cloud_type"]) == (gpu_type, cloud)
    ]


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        (f"catalog/gpus?{STOCK}&count=8&cloud=COMMUNITY", "ListGpuTypesResponse"),
        (f"catalog/gpus?{STOCK}&countryCodes=US,RO", "ListGpuTypesResponse"),
        (f"catalog/cpus?{STOCK}&vcpuCount=4", "ListCpuTypesResponse"),
        (f"catalog/cpus/cpu5c?{STOCK}", "CpuType"),
        ("catalog/datacenters/EU-RO-1?include=GPU_AVAILABILITY", "DataCenter"),
        (
            "catalog/datacenters?include=GPU_AVAILABILITY,CPU_AVAILABILITY",
            "ListDataCentersResponse",
        ),
        ("catalog/templates?source=community", "ListTemplatesResponse"),
        ("billing", "ListBillingResponse"),
        ("billing/pods?lastN=3&bucketSize=hour", "ListPodBillingResponse"),
        ("billing/network-volumes?bucketSize=week", "ListNetworkVolumeBillingResponse"),
        ("network-volumes", "ListNetworkVolumesResponse"),
        ("templates", "ListTemplatesResponse"),
    ],
)
def test_answers_match_the_document(
    module_sim: SimServer, path: str, schema: str
) -> None:
    status, answer = module_sim.rest("GET", path)

    assert status == 200, answer
    root = {
        "$ref": f"#/components/schemas/{schema}",
        "components": OPENAPI["components"],
    }
    Draft202012Validator(root).validate(answer)


def test_stock_names_the_sites_and_cuda_versions_of_the_hosts(
    module_sim: SimServer,
) -> None:
    shown = gpu(module_sim, STOCK)

    found = hosts(module_sim)
    assert sites(shown) == {machine["data_center_id"] for machine in found}
    assert {row["version"] for row in shown["cudaVersions"]} == {
        machine["cuda_version"] for machine in found
    }


def test_country_filter_narrows_sites_and_drops_types_from_the_list(
    module_sim: SimServer,
) -> None:
    everywhere = sites(gpu(module_sim, STOCK))
    in_japan = gpu(module_sim, f"{STOCK}&countryCodes=JP")
    listed = module_sim.rest("GET", f"catalog/gpus?{STOCK}&countryCodes=JP")[1]["gpus"]

    assert sites(in_japan) == everywhere & {"AP-JP-1"}
    assert all(sites(row) == {"AP-JP-1"} for row in listed)
    assert len(listed) < 18


def test_nothing_for_a_country_nobody_is_in(module_sim: SimServer) -> None:
    shown = gpu(module_sim, f"{STOCK}&countryCodes=FR")

    assert shown["availability"] == "NONE"
    assert "dataCenters" not in shown


def test_cuda_floor_is_compared_by_number(module_sim: SimServer) -> None:
    newest = gpu(module_sim, f"{STOCK}&minCudaVersion=13")
    beyond = gpu(module_sim, f"{STOCK}&minCudaVersion=13.11")
    exact = gpu(module_sim, f"{STOCK}&cudaVersions=12.8")

    assert {row["version"] for row in newest.get("cudaVersions", [])} <= {"13.0"}
    assert beyond["availability"] == "NONE"
    assert {row["version"] for row in exact.get("cudaVersions", [])} <= {"12.8"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("catalog/gpus?count=2", 400),
        ("catalog/gpus?countryCodes=US", 400),
        ("catalog/gpus?include=AVAILABILITY", 400),
        ("catalog/gpus?product=POD", 400),
        (f"catalog/gpus?{STOCK}&count=0", 422),
        (f"catalog/gpus?{STOCK}&countryCodes=us", 422),
        (f"catalog/gpus?{STOCK}&cudaVersions=12", 422),
        (f"catalog/gpus?{STOCK}&cloud=ALL", 422),
        (f"catalog/gpus?{STOCK}&cudaVersions=12.8&minCudaVersion=12", 400),
        ("catalog/gpus/NVIDIA%20L5", 404),
        ("catalog/cpus/cpu9x", 404),
        ("catalog/cpus?include=AVAILABILITY&product=CLUSTER", 422),
        (f"catalog/cpus?{STOCK}&vcpuCount=3", 422),
        ("catalog/datacenters/XX-1", 404),
        ("catalog/datacenters?include=EVERYTHING", 422),
        ("billing?lastN=3&startTime=2026-01-01T00:00:00Z", 400),
        ("billing?bucketSize=minute", 422),
        ("billing?startTime=yesterday", 422),
    ],
)
def test_queries_that_mean_nothing_are_told_apart(
    module_sim: SimServer, path: str, status: int
) -> None:
    assert module_sim.rest("GET", path)[0] == status


def test_unknown_query_parameters_are_ignored(module_sim: SimServer) -> None:
    assert module_sim.rest("GET", "catalog/gpus?colour=green")[0] == 200


def test_data_centers_are_filtered_by_everything_at_once(module_sim: SimServer) -> None:
    def ids(query: str) -> list[str]:
        answer = module_sim.rest("GET", f"catalog/datacenters?{query}")[1]
        return [center["id"] for center in answer["dataCenters"]]

    assert ids("regions=EUROPE&compliance=GDPR") == ["EU-RO-1", "EU-SE-1"]
    assert ids("regions=ASIA,EUROPE&networkVolumeTypes=STANDARD,HIGH_PERFORMANCE") == [
        "EU-RO-1"
    ]
    assert ids("globalNetwork=false") == ["CA-MTL-1"]


def test_placement_obeys_site_and_cuda_on_both_wires(module_sim: SimServer) -> None:
    host = hosts(module_sim)[0]
    center, cuda = host["data_center_id"], host["cuda_version"]
    other = next(
        c
        for c in ("US-TX-3", "EU-SE-1", "AP-JP-1")
        if c not in sites(gpu(module_sim, STOCK))
    )
    body = {"name": "p", "image": "i", "gpu": {"id": GPU_TYPE}}

    here = module_sim.rest("POST", "pods", body | {"dataCenterIds": [center]})
    there = module_sim.rest("POST", "pods", body | {"dataCenterIds": [other]})
    exact = module_sim.rest(
        "POST", "pods", body | {"gpu": {"id": GPU_TYPE, "allowedCudaVersions": [cuda]}}
    )
    beyond = module_sim.rest(
        "POST", "pods", body | {"gpu": {"id": GPU_TYPE, "minCudaVersion": "13.11"}}
    )
    graphql = [
        module_sim.graphql(
            DEPLOY, input={"imageName": "i", "gpuTypeId": GPU_TYPE} | given
        )
        for given in (
            {"dataCenterId": other},
            {"minCudaVersion": "13.11"},
            {"minCudaVersion": "12.1", "dataCenterId": center},
        )
    ]

    assert (here[0], here[1]["dataCenterId"]) == (201, center)
    assert (exact[0], exact[1]["cudaVersion"]) == (201, cuda)
    assert (there[0], beyond[0]) == (400, 400)
    assert ["errors" in answer for answer in graphql] == [True, True, False]


def test_lowest_price_answers_per_cloud_and_site(module_sim: SimServer) -> None:
    query = (
        'query($i: GpuLowestPriceInput){gpuTypes(input:{id:"NVIDIA L4"})'
        "{lowestPrice(input:$i){uninterruptablePrice minimumBidPrice stockStatus}}}"
    )

    def price(**given: Any) -> dict[str, Any]:
        answer = module_sim.graphql(query, i={"gpuCount": 1, **given})
        found = answer["data"]["gpuTypes"][0]["lowestPrice"]
        assert isinstance(found, dict)
        return found

    center = hosts(module_sim)[0]["data_center_id"]
    secure = price(secureCloud=True, dataCenterId=center)
    community = price(secureCloud=False)
    nowhere = price(secureCloud=True, dataCenterId="XX-1")

    assert (secure["uninterruptablePrice"], secure["minimumBidPrice"]) == (0.49, 0.245)
    assert community["uninterruptablePrice"] == 0.44
    assert nowhere == {
        "uninterruptablePrice": None,
        "minimumBidPrice": None,
        "stockStatus": None,
    }


def test_cpu_flavors_answer_per_site(module_sim: SimServer) -> None:
    query = (
        'query($i: SpecificsInput){cpuFlavors(input:{id:"cpu3c"})'
        "{specifics(input:$i){stockStatus securePrice}}}"
    )

    def specifics(**given: Any) -> Any:
        answer = module_sim.graphql(query, i=given)
        return answer["data"]["cpuFlavors"][0]["specifics"]

    assert specifics(instanceId="cpu3c-4-8", dataCenterId="US-TX-3") == {
        "stockStatus": "High",
        "securePrice": 0.12,
    }
    assert specifics(dataCenterId="XX-1")["stockStatus"] is None
