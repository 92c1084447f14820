"""What `config.sh` does: read the inputs, register the runner, take it down again."""

import json
import os
import platform
import secrets
import socket
import time
import urllib.parse

from service import VERSION, ServiceError, call, say, seconds, write_file

FLAGS = {
    "unattended", "ephemeral", "replace", "disableupdate", "no-default-labels", "local",
    "once", "help", "version", "commit", "check", "generateserviceconfig",
}
VALUES = {
    "url", "token", "name", "labels", "work", "runnergroup", "pat", "auth", "jitconfig",
    "startuptype", "monitorsocketaddress", "username",
}
PREFIX = "ACTIONS_RUNNER_INPUT_"
MAX_LABEL_LENGTH = 256
REGISTRATION_TRIES = 3
CONFIGURED_FILES = (".credentials", ".runner")
HIDDEN_FILES = (".credentials_rsaparams", ".credentials_migrated", ".runner_migrated")
HELP = """config.sh [--url URL] [--token TOKEN] [--name NAME] [--labels A,B] [--work DIR]
          [--runnergroup GROUP] [--ephemeral] [--unattended] [--replace]
          [--disableupdate] [--no-default-labels]
config.sh remove [--token TOKEN | --local]
run.sh    [--jitconfig CONFIG] [--once]"""


class SetupError(Exception):
    """The runner could not be set up or taken down."""


def read_inputs(arguments, environment):
    """Return the inputs, the command and the words that mean nothing.

    Inputs from the environment are removed from it, so that no job gets to see them.
    """
    inputs = {}
    for name in [name for name in environment if name.upper().startswith(PREFIX)]:
        key = name[len(PREFIX):].lower().replace("_", "-")
        value = environment.pop(name)
        known = key if key in FLAGS | VALUES else key.replace("-", "")
        if known in FLAGS and value.lower() != "true":
            continue
        inputs[known] = value
    command, unknown = "run", []
    words = iter(arguments)
    for word in words:
        key = word[2:].lower() if word.startswith("--") else ""
        if key in FLAGS:
            inputs[key] = "true"
        elif key in VALUES:
            inputs[key] = next(words, "")
        elif word in {"configure", "remove", "run"}:
            command = word
        else:
            unknown.append(word)
    return inputs, command, unknown


def ask(inputs, key, question, default=None):
    """Return an input, asking for it where someone may answer."""
    if inputs.get(key):
        return inputs[key]
    if "unattended" in inputs:
        if default is None:
            raise SetupError(f"Invalid configuration provided for {key}. Terminating unattended configuration.")
        return default
    try:
        answer = input(f"{question} ").strip()
    except EOFError:
        answer = ""
    if not answer and default is None:
        raise SetupError(f"A value for {key} is needed.")
    return answer or default


def configure(root, inputs):
    """Register this folder's runner; return the exit status."""
    if (root / ".runner").exists():
        raise SetupError("Cannot configure the runner because it is already configured. Run './config.sh remove' first.")
    if "no-default-labels" in inputs and not inputs.get("labels"):
        raise SetupError("--no-default-labels needs --labels.")
    url = ask(inputs, "url", "What is the URL of your repository?")
    token = ask(inputs, "token", "What is your runner register token?")
    api, scope = split_url(url)
    authorization = f"RemoteAuth {token}"
    begin(api, url, authorization, "register")
    say("√ Connected to GitHub")
    group_id, group = find_group(api + scope, authorization, inputs)
    name = ask(inputs, "name", "Enter the name of runner:", socket.gethostname())
    replaced = find_replaced(api + scope, authorization, name, inputs)
    key = secrets.token_hex(32)
    body = {
        "url": url,
        "group_id": group_id,
        "name": name,
        "version": VERSION,
        "updates_disabled": "disableupdate" in inputs,
        "ephemeral": "ephemeral" in inputs,
        "labels": [{"name": label, "type": "System" if system else "User"} for label, system in labels(inputs)],
        "public_key": key,
    }
    if replaced is not None:
        body |= {"runner_id": replaced, "replace": True}
    try:
        _, answer = call("POST", f"{api}/actions/runners/register", body=body, authorization=authorization)
    except ServiceError as error:
        raise SetupError(f"Failed to add the runner. {error}") from None
    say("√ Runner successfully added" if replaced is None else "√ Successfully replaced the runner")
    say("√ Runner connection is good")
    save(root, answer, url, group_id, group, key, inputs)
    say("√ Settings Saved.")
    return 0


def split_url(url):
    """Return the API's base and the scope's path below it."""
    parts = urllib.parse.urlsplit(url)
    path = [part for part in parts.path.split("/") if part]
    api = f"{parts.scheme}://{parts.netloc}/api/v3"
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise SetupError(f"Invalid URL: {url}")
    if len(path) == 2 and path[0] == "enterprises":
        return api, f"/enterprises/{path[1]}"
    if len(path) == 2:
        return api, f"/repos/{path[0]}/{path[1]}"
    if len(path) == 1:
        return api, f"/orgs/{path[0]}"
    raise SetupError(f"Invalid URL: {url}")


def begin(api, url, authorization, event):
    """Present the token; trouble that may pass is met three times."""
    target = f"{api}/actions/runner-registration"
    for left in range(REGISTRATION_TRIES - 1, -1, -1):
        try:
            call("POST", target, body={"url": url, "runner_event": event}, authorization=authorization)
        except ServiceError as error:
            if error.status == 404 or not left:
                what = "NotFound" if error.status == 404 else str(error)
                raise SetupError(f"Http response code: {what} from 'POST {target}'") from None
            say(f"Retrying in a moment: {error}")
            time.sleep(seconds("RETRY", 3))
        else:
            return


def fetch(url, authorization):
    try:
        return call("GET", url, authorization=authorization)[1]
    except ServiceError as error:
        raise SetupError(str(error)) from None


def find_group(scope_url, authorization, inputs):
    groups = fetch(f"{scope_url}/actions/runner-groups?per_page=100", authorization)["runner_groups"]
    wanted = inputs.get("runnergroup")
    for group in groups:
        if (group["default"] and not wanted) or group["name"] == wanted:
            return group["id"], group["name"]
    raise SetupError(f'Could not find any self-hosted runner group named "{wanted}".')


def find_replaced(scope_url, authorization, name, inputs):
    """Return the id of a runner of that name that may be replaced, or None."""
    query = urllib.parse.urlencode({"name": name})
    runners = fetch(f"{scope_url}/actions/runners?{query}", authorization)["runners"]
    if not runners:
        return None
    if "replace" not in inputs:
        if "unattended" in inputs:
            raise SetupError(f"A runner exists with the same name {name}.")
        say(f"A runner exists with the same name {name}.")
        answer = ask(inputs, "", "Would you like to replace the existing runner? (Y/N)", "N")
        if answer.lower() not in {"y", "yes"}:
            raise SetupError("The runner was not replaced.")
    return runners[0]["id"]


def labels(inputs):
    """Return label and whether it is one of the runner's own."""
    architecture = "ARM64" if platform.machine() in {"aarch64", "arm64"} else "X64"
    own = [] if "no-default-labels" in inputs else ["self-hosted", "Linux", architecture]
    custom = [label.strip() for label in inputs.get("labels", "").split(",") if label.strip()]
    for label in custom:
        if len(label) > MAX_LABEL_LENGTH:
            raise SetupError(f"A label is longer than {MAX_LABEL_LENGTH} characters.")
    return [(label, True) for label in own] + [(label, False) for label in custom]


def save(root, answer, url, group_id, group, key, inputs):
    authorization = answer["authorization"]
    settings = {
        "agentId": answer["id"],
        "agentName": answer["name"],
        "poolId": group_id,
        "poolName": group,
        "ephemeral": "ephemeral" in inputs,
        "disableUpdate": "disableupdate" in inputs,
        "serverUrl": authorization["server_url"],
        "gitHubUrl": url,
        "workFolder": inputs.get("work") or "_work",
        "useV2Flow": True,
        "useRunnerAdminFlow": True,
        "serverUrlV2": authorization["server_url"],
    }
    credentials = {
        "scheme": "OAuth",
        "data": {
            "clientId": authorization["client_id"],
            "authorizationUrl": authorization["authorization_url"],
        },
    }
    write_file(root / ".credentials_rsaparams", json.dumps({"hmacKey": key}).encode())
    write_file(root / ".credentials", json.dumps(credentials, indent=2).encode())
    write_file(root / ".runner", json.dumps(settings, indent=2).encode())
    write_file(root / "svc.sh", (root / "bin" / "systemd.svc.sh.template").read_bytes())
    os.chmod(root / "svc.sh", 0o755)


def remove(root, inputs):
    """Take this folder's runner down; return the exit status."""
    if (root / ".service").exists():
        raise SetupError("Uninstall service first")
    if not (root / ".runner").exists():
        say("Does not exist. Skipping removal.")
        return 0
    settings = json.loads((root / ".runner").read_bytes())
    if "local" not in inputs:
        remove_from_server(settings, inputs)
    wipe(root)
    return 0


def remove_from_server(settings, inputs):
    url = settings.get("gitHubUrl")
    if not url:
        raise SetupError("Failed: the settings of a JIT runner do not say where it is registered.")
    token = ask(inputs, "token", "Enter runner remove token:")
    api, scope = split_url(url)
    authorization = f"RemoteAuth {token}"
    begin(api, url, authorization, "remove")
    try:
        call("DELETE", f"{api}{scope}/actions/runners/{settings['agentId']}", authorization=authorization)
    except ServiceError as error:
        if error.status != 404:
            raise SetupError(f"Failed: Removing runner from the server. {error}") from None
    say("√ Runner removed successfully")


def wipe(root):
    """Remove what makes this folder a runner."""
    for name in HIDDEN_FILES:
        (root / name).unlink(missing_ok=True)
    for name in CONFIGURED_FILES:
        path = root / name
        if path.exists():
            path.unlink()
            say(f"√ Removed {name}")
