"""Network volumes and templates, over both wires."""

from pathlib import Path
from typing import Any

import pytest

from support.pods import DEPLOY, GPU_TYPE, Pods, make_identity
from support.sim import SimServer
from support.waiting import wait_for

TEMPLATE = {
    "name": "trainer",
    "image": "example/train:1",
    "args": "--fast",
    "disk": 33,
    "ports": ["8888/http", "22/tcp"],
    "env": {"MODE": "train", "LEVEL": "1"},
    "mounts": {"persistent": {"size": 44, "path": "/data"}},
    "allowedCudaVersions": ["12.8"],
    "startJupyter": False,
}
SAVE = (
    "mutation($i: SaveTemplateInput) { saveTemplate(input: $i) { id name imageName } }"
)


@pytest.fixture
def own(
    module_sim: SimServer,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pods:
    """Rent pods with an account nobody else uses."""
    identity, public_key = make_identity(tmp_path_factory.mktemp("key"))
    server = module_sim.with_key(f"rpa_{abs(hash(request.node.nodeid)):x}")
    return Pods(server, identity, public_key)


def site_of(own: Pods, gpu_type: str = GPU_TYPE) -> str:
    """Return a data center with a secure host of a GPU type and network storage."""
    _, answer = own.sim.rest("GET", "catalog/datacenters?networkVolumeTypes=STANDARD")
    storing = {center["id"] for center in answer["dataCenters"]}
    return next(
        str(machine["data_center_id"])
        for machine in own.sim.world()["machines"]
        if machine["gpu_type_id"] == gpu_type
        and machine["cloud_type"] == "SECURE"
        and machine["data_center_id"] in storing
    )


def make_volume(own: Pods, center: str = "US-TX-3", **given: Any) -> dict[str, Any]:
    body = {"name": "data", "size": 50, "dataCenter": center} | given
    status, volume = own.sim.rest("POST", "network-volumes", body)
    assert status == 201, volume
    assert isinstance(volume, dict)
    return volume


def make_template(own: Pods, **given: Any) -> dict[str, Any]:
    status, template = own.sim.rest("POST", "templates", TEMPLATE | given)
    assert status == 201, template
    assert isinstance(template, dict)
    return template


def test_volume_lives_from_create_to_delete_on_both_wires(own: Pods) -> None:
    volume = make_volume(own)
    path = f"network-volumes/{volume['id']}"

    grown = own.sim.rest("PATCH", path, {"size": 80, "name": "bigger"})
    seen = own.sim.graphql("{myself{networkVolumes{id name size dataCenterId}}}")
    deleted = own.sim.rest("DELETE", path)

    assert volume == {
        "id": volume["id"],
        "name": "data",
        "size": 50,
        "dataCenter": "US-TX-3",
        "type": "STANDARD",
    }
    assert grown == (200, volume | {"size": 80, "name": "bigger"})
    assert seen["data"]["myself"]["networkVolumes"] == [
        {
            "id": volume["id"],
            "name": "bigger",
            "size": 80,
            "dataCenterId": "US-TX-3",
        }
    ]
    assert deleted == (204, "")
    assert own.sim.rest("GET", path)[0] == 404
    assert own.sim.rest("GET", "network-volumes") == (200, {"networkVolumes": []})


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"size": 9}, 422),
        ({"size": 4097}, 422),
        ({"dataCenter": "XX-1"}, 400),
        ({"dataCenter": "AP-JP-1"}, 400),
        ({"dataCenter": "US-KS-2", "type": "HIGH_PERFORMANCE"}, 400),
        ({"tier": "STANDARD"}, 422),
    ],
)
def test_volume_nobody_can_make_is_refused(
    own: Pods, given: dict[str, Any], status: int
) -> None:
    body = {"name": "data", "size": 50, "dataCenter": "US-TX-3"} | given

    assert own.sim.rest("POST", "network-volumes", body)[0] == status


def test_volume_never_shrinks(own: Pods) -> None:
    volume = make_volume(own)

    status, problem = own.sim.rest(
        "PATCH", f"network-volumes/{volume['id']}", {"size": 20}
    )

    assert (status, problem["title"]) == (400, "Bad Request")


def test_accounts_do_not_see_each_others_volumes(own: Pods) -> None:
    volume = make_volume(own)
    other = own.sim.with_key("rpa_somebody_else")

    status, _ = other.rest("GET", f"network-volumes/{volume['id']}")

    assert status == 404


def test_pod_is_placed_beside_its_volume_and_shows_it(own: Pods) -> None:
    center = site_of(own)
    volume = make_volume(own, center)
    mount = {"volumeId": volume["id"], "path": "/mnt/data"}
    body = {
        "name": "p",
        "image": "i",
        "gpu": {"id": GPU_TYPE},
        "mounts": {"network": [mount]},
    }

    status, pod = own.sim.rest("POST", "pods", body)
    elsewhere = own.sim.rest("POST", "pods", body | {"dataCenterIds": ["AP-JP-1"]})
    unknown = own.sim.rest(
        "POST", "pods", body | {"mounts": {"network": [mount | {"volumeId": "none"}]}}
    )
    in_use = own.sim.rest("DELETE", f"network-volumes/{volume['id']}")

    assert (status, pod["dataCenterId"]) == (201, center)
    assert pod["mounts"] == {"network": [mount]}
    assert (elsewhere[0], unknown[0], in_use[0]) == (400, 404, 409)


def test_volume_keeps_its_files_when_its_pod_is_gone(own: Pods) -> None:
    volume = make_volume(own, site_of(own))
    first = own.start(networkVolumeId=volume["id"])
    first.run("echo kept > $WORKSPACE/file")
    own.call("podTerminate", first.id)
    wait_for(
        lambda: own.sim.find_pod(first.id)["process_count"] == 0, what="the pod's end"
    )

    second = own.start(networkVolumeId=volume["id"])

    assert second.run("cat $WORKSPACE/file").stdout == "kept\n"


def test_deleted_volume_takes_its_files_along(own: Pods) -> None:
    volume = make_volume(own, site_of(own))
    pod = own.start(networkVolumeId=volume["id"])
    folder = Path(own.sim.state_dir) / "volumes" / volume["id"]
    existed = folder.is_dir()
    own.call("podTerminate", pod.id)

    own.sim.rest("DELETE", f"network-volumes/{volume['id']}")

    assert existed
    assert not folder.exists()


def test_patch_cannot_change_what_is_mounted(own: Pods) -> None:
    volume = make_volume(own, site_of(own))
    mount = {"volumeId": volume["id"], "path": "/mnt/data"}
    body = {
        "name": "p",
        "image": "i",
        "gpu": {"id": GPU_TYPE},
        "mounts": {"network": [mount]},
    }
    path = f"pods/{own.sim.rest('POST', 'pods', body)[1]['id']}"
    forbidden: tuple[dict[str, Any], ...] = (
        {"network": [mount | {"volumeId": "other"}]},
        {"network": []},
        {"persistent": {"size": 20, "path": "/p"}},
    )

    statuses = [
        own.sim.rest("PATCH", path, {"mounts": mounts})[0] for mounts in forbidden
    ]
    moved = own.sim.rest(
        "PATCH", path, {"mounts": {"network": [mount | {"path": "/n"}]}}
    )

    assert statuses == [400, 400, 400]
    assert moved[1]["mounts"]["network"][0]["path"] == "/n"


def test_volume_mutations_of_graphql_rename_grow_and_delete(own: Pods) -> None:
    created = own.sim.graphql(
        'mutation{createNetworkVolume(input:{name:"g",size:20,dataCenterId:"EU-RO-1"})'
        "{id size}}"
    )
    volume_id = created["data"]["createNetworkVolume"]["id"]

    updated = own.sim.graphql(
        "mutation($i:UpdateNetworkVolumeInput!){updateNetworkVolume(input:$i){name size}}",
        i={"id": volume_id, "name": "h", "size": 30},
    )
    shrunk = own.sim.graphql(
        "mutation($i:UpdateNetworkVolumeInput!){updateNetworkVolume(input:$i){size}}",
        i={"id": volume_id, "size": 10},
    )
    own.sim.graphql(
        "mutation($i:String!){deleteNetworkVolume(input:{id:$i})}", i=volume_id
    )

    assert updated["data"]["updateNetworkVolume"] == {"name": "h", "size": 30}
    assert shrunk["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert own.sim.rest("GET", "network-volumes")[1] == {"networkVolumes": []}


def test_template_lives_from_create_to_delete(own: Pods) -> None:
    template = make_template(own)
    path = f"templates/{template['id']}"

    changed = own.sim.rest("PATCH", path, {"disk": 60})
    listed = own.sim.rest("GET", "templates")
    deleted = own.sim.rest("DELETE", path)

    assert template == TEMPLATE | {
        "id": template["id"],
        "registry": None,
        "serverless": False,
        "public": False,
        "category": "NVIDIA",
        "startSsh": True,
    }
    assert changed == (200, template | {"disk": 60})
    assert listed == (200, {"templates": [changed[1]]})
    assert deleted == (204, "")
    assert own.sim.rest("GET", path)[0] == 404


def test_pod_takes_from_its_template_what_the_body_leaves_out(own: Pods) -> None:
    template = make_template(own, allowedCudaVersions=[])
    body = {
        "name": "from-template",
        "templateId": template["id"],
        "gpu": {"id": GPU_TYPE},
        "disk": 21,
        "env": {"LEVEL": "2"},
    }

    status, pod = own.sim.rest("POST", "pods", body)
    own.sim.rest("PATCH", f"templates/{template['id']}", {"image": "later"})
    _, later = own.sim.rest("GET", f"pods/{pod['id']}")

    assert status == 201
    assert (pod["image"], pod["args"], pod["disk"]) == ("example/train:1", "--fast", 21)
    assert pod["env"] == {"MODE": "train", "LEVEL": "2"}
    assert pod["ports"] == ["8888/http", "22/tcp"]
    assert pod["mounts"] == {"persistent": {"size": 44, "path": "/data"}}
    assert pod["template"] is None
    assert later["image"] == "example/train:1"


def test_cpu_pod_leaves_out_its_templates_volume_and_cuda(own: Pods) -> None:
    template = make_template(own, allowedCudaVersions=["9.9"])
    body = {
        "name": "c",
        "templateId": template["id"],
        "cpu": {"id": "cpu3c", "vcpuCount": 2},
    }

    status, pod = own.sim.rest("POST", "pods", body)

    assert (status, pod["mounts"]) == (201, {})


def test_cuda_constraint_of_a_template_holds_unless_the_body_has_one(own: Pods) -> None:
    template = make_template(own, allowedCudaVersions=["9.9"])
    body = {"name": "c", "templateId": template["id"]}

    held = own.sim.rest("POST", "pods", body | {"gpu": {"id": GPU_TYPE}})
    replaced = own.sim.rest(
        "POST", "pods", body | {"gpu": {"id": GPU_TYPE, "minCudaVersion": "12.1"}}
    )

    assert (held[0], replaced[0]) == (400, 201)


@pytest.mark.parametrize(("template_id", "status"), [("none", 404), ("sd-worker", 422)])
def test_template_that_makes_no_pod_is_refused(
    own: Pods, template_id: str, status: int
) -> None:
    body = {"name": "t", "templateId": template_id, "gpu": {"id": GPU_TYPE}}

    by_graphql = own.sim.graphql(
        DEPLOY, input={"templateId": template_id, "gpuTypeId": GPU_TYPE}
    )

    assert own.sim.rest("POST", "pods", body)[0] == status
    assert by_graphql["data"] == {"podFindAndDeployOnDemand": None}


def test_public_templates_are_read_and_not_changed(own: Pods) -> None:
    _, answer = own.sim.rest("GET", "catalog/templates")
    official = answer["templates"]
    _, verified = own.sim.rest("GET", "catalog/templates?source=verified")
    path = f"templates/{official[0]['id']}"

    assert own.sim.rest("GET", path) == (200, official[0])
    assert own.sim.rest("PATCH", path, {"name": "mine"})[0] == 404
    assert own.sim.rest("DELETE", path)[0] == 404
    assert own.sim.rest("GET", "catalog/templates?source=mine")[0] == 422
    assert [t["name"] for t in verified["templates"]] == ["ComfyUI"]


def test_templates_of_both_wires_are_the_same(own: Pods) -> None:
    saved = own.sim.graphql(
        SAVE,
        i={
            "name": "via-graphql",
            "imageName": "example/g:1",
            "dockerArgs": "",
            "containerDiskInGb": 12,
            "volumeInGb": 0,
            "env": [{"key": "A", "value": "b"}],
            "ports": "22/tcp",
        },
    )["data"]["saveTemplate"]

    _, shown = own.sim.rest("GET", f"templates/{saved['id']}")
    mine = own.sim.graphql("{myself{podTemplates{id imageName env{key value}}}}")

    assert (shown["name"], shown["env"], shown["disk"]) == (
        "via-graphql",
        {"A": "b"},
        12,
    )
    assert mine["data"]["myself"]["podTemplates"] == [
        {
            "id": saved["id"],
            "imageName": "example/g:1",
            "env": [{"key": "A", "value": "b"}],
        }
    ]


def test_template_names_are_unique_and_a_used_one_stays(own: Pods) -> None:
    template = make_template(own, allowedCudaVersions=[])
    twice = own.sim.rest("POST", "templates", TEMPLATE)
    answer = own.sim.graphql(
        DEPLOY,
        input={"templateId": template["id"], "gpuTypeId": GPU_TYPE, "name": "uses-it"},
    )
    pod_id = answer["data"]["podFindAndDeployOnDemand"]["id"]

    in_use = own.sim.graphql(
        "mutation($n:String){deleteTemplate(templateName:$n)}", n="trainer"
    )
    shown = own.sim.rest("GET", f"pods/{pod_id}")[1]
    own.call("podTerminate", pod_id)
    gone = own.sim.graphql(
        "mutation($n:String){deleteTemplate(templateName:$n)}", n="trainer"
    )

    assert twice[0] == 400
    assert in_use["errors"][0]["message"] == "template is in use"
    assert (shown["template"], shown["image"]) == (template["id"], "example/train:1")
    assert gone == {"data": {"deleteTemplate": None}}


def test_graphql_lists_and_filters_templates(own: Pods) -> None:
    make_template(own)

    runpods = own.sim.graphql("{podTemplates(input:{isRunpod:true}){name isRunpod}}")
    one = own.sim.graphql('{podTemplate(id:"30zmvf89kd"){name ports}}')
    none = own.sim.graphql('{podTemplate(id:"none"){name}}')

    assert {t["isRunpod"] for t in runpods["data"]["podTemplates"]} == {True}
    assert one["data"]["podTemplate"] == {
        "name": "PyTorch 2.8",
        "ports": "8888/http,22/tcp",
    }
    assert none == {"data": {"podTemplate": None}}
