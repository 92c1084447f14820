from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_client.config_files import ConfigFile, Layers
from runpod_client.errors import ConfigError, NotFoundError
from runpod_client.model import (
    CloudType,
    Constraints,
    Pod,
    PodSpec,
    PodStatus,
    Preference,
)
from runpod_client.pod_templates import get_template, list_templates
from runpod_client.template_parameters import parse_rows, substitute
from runpod_client.template_rendering import (
    Change,
    Rendered,
    check_template,
    compare_with_pod,
    render_template,
)
from runpod_client.template_tables import rendered_document, template_document

PROJECT = Path("/repository/runpod.toml")
USER = Path("/home/me/config.toml")
Document = Mapping[str, Any]


def layers_of(
    project: Document,
    user: Document | None = None,
    *,
    profile: str | None = None,
    is_trusted: bool = True,
) -> Layers:
    project_file = ConfigFile(
        path=PROJECT, document=project, is_project=True, is_trusted=is_trusted
    )
    own = ConfigFile(path=USER, document=user or {})
    return Layers(files=(project_file, own), profile=profile)


def render(
    templates: Document,
    name: str = "t",
    *rows: str,
    environ: Mapping[str, str] | None = None,
    **more: Any,
) -> Rendered:
    return render_template(
        layers_of({"templates": templates}, **more),
        name,
        given=parse_rows(rows),
        environ=environ or {},
        default_lease=timedelta(hours=8),
    )


def test_every_key_lands_in_the_spec() -> None:
    template = {
        "name": "n",
        "gpu": ["RTX 4090", "L40S"],
        "gpu_count": 2,
        "image": "img:1",
        "cloud": "community",
        "disk": 30,
        "volume": 40,
        "volume_mount_path": "/data",
        "ports": ["22", "8188/http"],
        "env": {"A": "1", "B": 2, "C": True},
        "env_from": ["TOKEN"],
        "data_centers": ["EU-RO-1"],
        "min_memory": 24,
        "min_cuda": "12.4",
        "max_price": 1.5,
        "bid": "floor+10%",
        "prefer": "price",
        "command": "run",
        "lease": "4h",
    }

    spec = render({"t": template}, environ={"TOKEN": "secret"}).spec

    assert spec == PodSpec(
        name="n",
        image="img:1",
        place=Constraints(
            gpu_types=("RTX 4090", "L40S"),
            gpu_count=2,
            cloud_type=CloudType.COMMUNITY,
            data_center_ids=("EU-RO-1",),
            min_memory_gb=24,
            min_cuda="12.4",
            max_price_usd_per_hour=Decimal("1.5"),
            bid="floor+10%",
            prefer=Preference.PRICE,
        ),
        container_disk_gb=30,
        volume_gb=40,
        volume_mount_path="/data",
        ports=("22/tcp", "8188/http"),
        env={"A": "1", "B": "2", "C": "true", "TOKEN": "secret"},
        start_command="run",
        lease=timedelta(hours=4),
    )


def test_network_volume_takes_the_place_of_a_volume() -> None:
    spec = render({"t": {"network_volume": "vol", "runpod_template": "tpl"}}).spec

    assert (spec.network_volume_id, spec.template_id) == ("vol", "tpl")
    assert spec.image == ""


def test_template_that_describes_no_pod_is_refused() -> None:
    with pytest.raises(ConfigError, match="the pod template 't' describes no pod: "):
        render({"t": {"network_volume": "vol", "volume": 10}})


def test_template_without_a_lease_gets_the_default_one_not_none() -> None:
    rendered = render({"t": {}})

    assert rendered.spec.lease == timedelta(hours=8)
    assert rendered.spec.name == "t"
    (lease,) = [line for line in rendered.lines if line.key == "lease"]
    assert (lease.text, lease.origin) == ("8h", "setting default_lease")


def test_child_lies_over_its_parents_and_every_value_keeps_its_origin() -> None:
    templates = {
        "root": {"image": "a", "disk": 10, "env": {"X": "1", "Y": "1"}},
        "mid": {"extends": "root", "disk": 20, "env": {"Y": "2"}},
        "t": {"extends": "mid", "volume": 5},
    }

    rendered = render(templates)

    spec = rendered.spec
    assert (spec.image, spec.container_disk_gb, spec.volume_gb) == ("a", 20, 5)
    assert spec.env == {"X": "1", "Y": "2"}
    origins = {line.key: line.origin for line in rendered.lines}
    assert origins["image"] == f"{PROJECT} [templates.root]"
    assert origins["disk"] == f"{PROJECT} [templates.mid]"
    assert origins["env.X"] == f"{PROJECT} [templates.root.env]"
    assert origins["env.Y"] == f"{PROJECT} [templates.mid.env]"
    assert origins["gpu"] == "default"
    assert rendered.template.extends == ("mid", "root")


@pytest.mark.parametrize(
    ("templates", "circle"),
    [
        ({"t": {"extends": "t"}}, "t -> t"),
        ({"t": {"extends": "b"}, "b": {"extends": "t"}}, "t -> b -> t"),
        ({"t": {"extends": "b"}, "b": {"extends": "b"}}, "b -> b"),
    ],
)
def test_template_that_extends_itself_is_refused_with_the_circle(
    templates: Document, circle: str
) -> None:
    with pytest.raises(ConfigError, match=f"extends itself: {circle}"):
        render(templates)


def test_projects_template_hides_the_users_of_the_same_name_whole() -> None:
    user = {"templates": {"t": {"volume": 500}, "other": {"disk": 7}}}

    rendered = render({"t": {"extends": "other"}}, user=user)

    assert rendered.spec.volume_gb == 0
    assert rendered.spec.container_disk_gb == 7


def test_profile_lies_over_the_template_and_shows_what_it_changes() -> None:
    project = {
        "templates": {"t": {"lease": "4h", "disk": 20, "env": {"M": "big"}}},
        "profiles": {
            "staging": {"templates": {"t": {"lease": "1h", "env": {"M": "small"}}}}
        },
    }

    rendered = render_template(
        layers_of(project, profile="staging"),
        "t",
        given={},
        environ={},
        default_lease=None,
    )

    assert rendered.spec.lease == timedelta(hours=1)
    assert rendered.changes == (
        Change(key="lease", before="4h", after="1h"),
        Change(key="env.M", before="big", after="small"),
    )
    (lease,) = [line for line in rendered.lines if line.key == "lease"]
    assert lease.origin == f"{PROJECT} [profiles.staging.templates.t]"


def test_matrix_gives_places_to_try_in_order_each_over_the_template() -> None:
    template = {
        "gpu_count": 2,
        "cloud": "secure",
        "matrix": [{"gpu": ["A"], "cloud": "community"}, {"gpu": "B", "bid": 0.2}],
    }

    spec = render({"t": template}).spec

    assert spec.place == Constraints(
        gpu_types=("A",), gpu_count=2, cloud_type=CloudType.COMMUNITY
    )
    assert spec.fallbacks == (
        Constraints(
            gpu_types=("B",), gpu_count=2, cloud_type=CloudType.SECURE, bid="0.2"
        ),
    )


def test_matrix_varies_only_where_a_pod_runs() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'image' in \[.*matrix 1\]"):
        render({"t": {"matrix": [{"image": "x"}]}})


SIZED = {
    "volume": "${size}",
    "command": "run --gb ${size} --price ${usd} $${HOME}",
    "max_price": "${usd}",
    "gpu": ["${gpu}"],
    "env": {"DEBUG": "${debug}"},
    "parameters": {
        "size": {"type": "int", "default": 100, "min": 10, "max": 500},
        "usd": {"type": "float", "default": 0.1},
        "gpu": {"type": "choice", "choices": ["L4", "L40S"], "default": "L4"},
        "debug": {"type": "bool", "default": False},
        "tag": {"default": "x"},
    },
}


def test_parameters_keep_their_type_and_stand_in_any_text() -> None:
    rendered = render({"t": SIZED}, "t", "size=200", "usd=0.30", "gpu=L40S", "debug=1")

    spec = rendered.spec
    assert spec.volume_gb == 200
    assert spec.place.max_price_usd_per_hour == Decimal("0.30")
    assert spec.place.gpu_types == ("L40S",)
    assert spec.start_command == "run --gb 200 --price 0.30 ${HOME}"
    assert spec.env == {"DEBUG": "true"}
    assert Change(key="volume", before="100", after="200") in rendered.changes


@pytest.mark.parametrize(
    ("row", "sentence", "hint"),
    [
        ("size=9", "parameter size from --set is 9, but must be at least 10", ""),
        ("size=501", "must be at most 500", ""),
        ("size=big", "which is no int", ""),
        (
            "gpu=L40",
            "none of its choices",
            "Did you mean 'L40S'? Choose from L4, L40S.",
        ),
        ("sise=1", "has no parameter 'sise'", "Did you mean 'size'?"),
        ("debug=maybe", "which is no bool", ""),
    ],
)
def test_argument_out_of_its_bounds_is_refused(
    row: str, sentence: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        render({"t": SIZED}, "t", row)

    assert sentence in caught.value.message
    assert caught.value.hint == hint


def test_parameter_without_default_must_be_given() -> None:
    template = {"image": "${tag}", "parameters": {"tag": {"help": "The image."}}}

    with pytest.raises(
        ConfigError, match="needs a value for its parameter 'tag'"
    ) as no:
        render({"t": template})

    assert no.value.hint == "Say --set tag=VALUE. The image."
    assert render({"t": template}, "t", "tag=i:2").spec.image == "i:2"


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"type": "integer"}, "unknown type 'integer'"),
        ({"deflt": 1}, "unknown key 'deflt'"),
        ({"type": "choice"}, "a choice needs choices"),
        ({"type": "str", "min": 1}, "min makes no sense for a str"),
        ({"type": "int", "default": 1, "min": 2}, "but must be at least 2"),
        ({"type": "int", "default": "x"}, "which is no int"),
    ],
)
def test_faulty_declaration_of_a_parameter_is_refused(
    declared: Document, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        render({"t": {"parameters": {"p": declared}}})

    assert caught.value.source == f"{PROJECT} [templates.t.parameters.p]"


@pytest.mark.parametrize(
    ("template", "message", "hint"),
    [
        (
            {"gpus": ["L4"]},
            f"unknown key 'gpus' in [templates.t] of {PROJECT}",
            "Did you mean 'gpu'?",
        ),
        (
            {"extends": "bse"},
            f"{PROJECT} [templates.t] extends 'bse', which is no pod template",
            "Did you mean 'base'?",
        ),
        (
            {"command": "${sze}", "parameters": {"size": {"default": "1"}}},
            "there is no parameter 'sze', which command of "
            f"{PROJECT} [templates.t] refers to",
            "Did you mean 'size'? For the text itself write $${sze}.",
        ),
        (
            {"disk": "big"},
            f"disk from {PROJECT} [templates.t] is 'big', which is no int",
            "",
        ),
        (
            {"bid": "flor"},
            f"bid from {PROJECT} [templates.t]: 'flor' is no way to bid for a spot pod",
            "Write floor, floor+10%, p75, share:0.6, or a price per GPU-hour like 0.21.",
        ),
        (
            {"env_from": ["HF_TOKEN"]},
            f"{PROJECT} [templates.t] wants the variable HF_TOKEN of your environment, "
            "which has none",
            "Set it: export HF_TOKEN=...",
        ),
        (
            {"matrix": {}},
            f"matrix in {PROJECT} [templates.t] must be a list of tables",
            'For instance: [{ gpu = ["RTX 4090"] }, { gpu = ["L40S"] }]',
        ),
    ],
)
def test_fault_names_file_table_key_and_what_was_meant(
    template: Document, message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        render({"t": template, "base": {}})

    assert caught.value.message == message
    assert caught.value.hint == hint


@pytest.mark.parametrize("key", ["lease", "ports"])
def test_fault_of_a_text_that_is_read_further_names_its_origin(key: str) -> None:
    bad: Document = {"lease": "4 hours ago", "ports": ["22/udp"]}

    with pytest.raises(ConfigError, match=rf"{key} from {PROJECT} \[templates.t\]"):
        render({"t": {key: bad[key]}})


def test_unknown_template_is_not_found_and_the_nearest_named() -> None:
    with pytest.raises(NotFoundError, match="no pod template 'trian'") as caught:
        render({"train": {}}, "trian")

    assert caught.value.hint == "Did you mean 'train'?"


def test_untrusted_project_takes_no_variables_from_the_caller() -> None:
    templates = {"t": {"env_from": ["AWS_SECRET_ACCESS_KEY"]}, "u": {"disk": 9}}

    with pytest.raises(ConfigError, match="may not set 'env_from'"):
        render(templates, environ={"AWS_SECRET_ACCESS_KEY": "x"}, is_trusted=False)

    assert render(templates, "u", is_trusted=False).spec.container_disk_gb == 9


def test_secrets_are_stars_wherever_a_template_is_shown() -> None:
    template = {
        "env": {"HF_TOKEN": "planted", "K": "ghp_planted0planted0planted"},
        "env_from": ["PLAIN"],
        "command": "x rpa_planted0planted0",
    }
    rendered = render({"t": template}, environ={"PLAIN": "planted"})

    shown = repr(
        [
            rendered_document(rendered),
            template_document(rendered.template),
            [line.text for line in rendered.lines],
        ]
    )

    assert rendered.spec.env["PLAIN"] == "planted"
    assert "planted" not in shown
    assert "planted" not in repr(rendered.template)


def test_comparison_with_a_pod_tells_what_renting_anew_would_change() -> None:
    rendered = render(
        {
            "t": {
                "name": "p",
                "gpu": ["NVIDIA L4", "L40S"],
                "image": "new",
                "volume": 50,
                "env": {"A": "1", "TOKEN": "new"},
            }
        }
    )
    pod = Pod(
        pod_id="x",
        name="p",
        status=PodStatus.RUNNING,
        gpu_type="NVIDIA L40S",
        gpu_count=1,
        image="old",
        price_usd_per_hour=Decimal(1),
        container_disk_gb=20,
        volume_gb=50,
        asked_ports=("22/tcp",),
        env={"A": "1", "TOKEN": "old", "RUNPOD_CLIENT_OWNER": "me"},
    )

    assert compare_with_pod(rendered, pod, {"NVIDIA L40S": "L40S"}) == [
        Change(key="image", before="old", after="new"),
        Change(key="env.TOKEN", before="***", after="*** (another)"),
    ]


def test_check_accepts_what_needs_parameters_and_variables_not_known_yet() -> None:
    templates = {
        "a": {"volume": "${size}", "parameters": {"size": {"type": "int"}}},
        "b": {"env_from": ["NOT_SET"], "disk": 30},
    }

    for template in list_templates(layers_of({"templates": templates})):
        check_template(template)


@pytest.mark.parametrize(
    "template",
    [
        {"disk": "big"},
        {"command": "${nope}", "parameters": {"size": {"type": "int"}}},
        {"matrix": [{"gpu": "${nope}"}], "parameters": {"size": {"type": "int"}}},
    ],
)
def test_check_finds_what_can_be_known_now(template: Document) -> None:
    found = get_template(layers_of({"templates": {"t": template}}), "t")

    with pytest.raises(ConfigError):
        check_template(found)


@given(text=st.text(), value=st.text())
def test_substitution_leaves_text_without_references_as_it_is(
    text: str, value: str
) -> None:
    escaped = text.replace("${", "$${")

    assert substitute(escaped, {"p": value}, source="s") == text
    assert substitute(escaped + "|${p}", {"p": value}, source="s") == f"{text}|{value}"
