"""The GraphQL documents: constants, each named by its operation; values are variables.

It must not know how they are sent or what is done with the answers.
"""

from collections.abc import Mapping

from runpod_client.model import Capability

# what a deploy answers with: the container is not there yet, so no runtime
_POD_FIELDS = """
  id name desiredStatus lastStatusChange imageName gpuCount costPerHr
  adjustedCostPerHr createdAt lastStartedAt machineId podType env ports volumeInGb
  containerDiskInGb memoryInGb vcpuCount networkVolumeId locked
  machine { podHostId gpuTypeId gpuDisplayName secureCloud dataCenterId }
"""
_RUNTIME_FIELDS = """
  runtime {
    uptimeInSeconds
    ports { ip isIpPublic privatePort publicPort type }
    gpus { id gpuUtilPercent memoryUtilPercent }
  }
"""
_VOLUME_FIELDS = "id name size dataCenterId"
_TEMPLATE_FIELDS = """
  id name imageName containerDiskInGb volumeInGb volumeMountPath ports dockerArgs
  isPublic isServerless env { key value }
"""
_PRICE_FIELDS = "minimumBidPrice uninterruptablePrice stockStatus"
_STOCK_FIELDS = "gpuTypeId available stockStatus"

CREATE_ON_DEMAND = f"""
mutation createPod($input: PodFindAndDeployOnDemandInput) {{
  created: podFindAndDeployOnDemand(input: $input) {{ {_POD_FIELDS} }}
}}"""
CREATE_SPOT = f"""
mutation createSpotPod($input: PodRentInterruptableInput!) {{
  created: podRentInterruptable(input: $input) {{ {_POD_FIELDS} }}
}}"""
LIST_PODS = f"""
query listPods {{
  myself {{ pods {{ {_POD_FIELDS} {_RUNTIME_FIELDS} }} }}
}}"""
FIND_POD = f"""
query findPod($input: PodFilter) {{
  pod(input: $input) {{ {_POD_FIELDS} {_RUNTIME_FIELDS} }}
}}"""
START_ON_DEMAND = """
mutation startPod($input: PodResumeInput!) {
  podResume(input: $input) { id desiredStatus }
}"""
START_SPOT = """
mutation startSpotPod($input: PodBidResumeInput!) {
  podBidResume(input: $input) { id desiredStatus }
}"""
START_WITHOUT_GPUS = """
mutation startPodWithoutGpus($input: podResumeZeroGpuInput!) {
  podResumeZeroGpu(input: $input) { id desiredStatus }
}"""
STOP_POD = """
mutation stopPod($input: PodStopInput!) {
  podStop(input: $input) { id desiredStatus }
}"""
TERMINATE_POD = """
mutation terminatePod($input: PodTerminateInput!) {
  podTerminate(input: $input)
}"""
RENAME_POD = """
mutation renamePod($input: PodEditNameInput!) {
  podEditName(input: $input) { id name }
}"""
EDIT_POD = """
mutation editPod($input: PodEditJobInput!) {
  podEditJob(input: $input) { id desiredStatus }
}"""
LIST_GPU_TYPES = f"""
query listGpuTypes(
  $securePrice: GpuLowestPriceInput, $communityPrice: GpuLowestPriceInput,
  $secureStock: GpuAvailabilityInput, $communityStock: GpuAvailabilityInput
) {{
  gpuTypes {{
    id displayName memoryInGb secureCloud communityCloud securePrice communityPrice
    maxGpuCountSecureCloud maxGpuCountCommunityCloud
    secure: lowestPrice(input: $securePrice) {{ {_PRICE_FIELDS} }}
    community: lowestPrice(input: $communityPrice) {{ {_PRICE_FIELDS} }}
  }}
  dataCenters {{
    id
    secure: gpuAvailability(input: $secureStock) {{ {_STOCK_FIELDS} }}
    community: gpuAvailability(input: $communityStock) {{ {_STOCK_FIELDS} }}
  }}
}}"""
LIST_CPU_TYPES = """
query listCpuTypes {
  cpuFlavors { id displayName minVcpu maxVcpu ramMultiplier }
}"""
LIST_DATA_CENTERS = f"""
query listDataCenters($stock: GpuAvailabilityInput) {{
  dataCenters {{
    id name region storageSupport
    gpuAvailability(input: $stock) {{ {_STOCK_FIELDS} }}
  }}
}}"""
GET_ACCOUNT = """
query getAccount {
  myself { id clientBalance currentSpendPerHr spendLimit }
}"""
LIST_ACCOUNT_KEYS = """
query listAccountKeys {
  myself { pubKey }
}"""
REPLACE_ACCOUNT_KEYS = """
mutation replaceAccountKeys($input: UpdateUserSettingsInput) {
  updateUserSettings(input: $input) { id }
}"""
LIST_NETWORK_VOLUMES = f"""
query listNetworkVolumes {{
  myself {{ networkVolumes {{ {_VOLUME_FIELDS} }} }}
}}"""
CREATE_NETWORK_VOLUME = f"""
mutation createNetworkVolume($input: CreateNetworkVolumeInput!) {{
  createNetworkVolume(input: $input) {{ {_VOLUME_FIELDS} }}
}}"""
DELETE_NETWORK_VOLUME = """
mutation deleteNetworkVolume($input: DeleteNetworkVolumeInput!) {
  deleteNetworkVolume(input: $input)
}"""
LIST_TEMPLATES = f"""
query listTemplates {{
  myself {{ podTemplates {{ {_TEMPLATE_FIELDS} }} }}
}}"""
CREATE_TEMPLATE = f"""
mutation createTemplate($input: SaveTemplateInput) {{
  saveTemplate(input: $input) {{ {_TEMPLATE_FIELDS} }}
}}"""
DELETE_TEMPLATE = """
mutation deleteTemplate($name: String) {
  deleteTemplate(templateName: $name)
}"""

DOCUMENTS: Mapping[str, str] = {
    "createPod": CREATE_ON_DEMAND,
    "createSpotPod": CREATE_SPOT,
    "listPods": LIST_PODS,
    "findPod": FIND_POD,
    "startPod": START_ON_DEMAND,
    "startSpotPod": START_SPOT,
    "startPodWithoutGpus": START_WITHOUT_GPUS,
    "stopPod": STOP_POD,
    "terminatePod": TERMINATE_POD,
    "renamePod": RENAME_POD,
    "editPod": EDIT_POD,
    "listGpuTypes": LIST_GPU_TYPES,
    "listCpuTypes": LIST_CPU_TYPES,
    "listDataCenters": LIST_DATA_CENTERS,
    "getAccount": GET_ACCOUNT,
    "listAccountKeys": LIST_ACCOUNT_KEYS,
    "replaceAccountKeys": REPLACE_ACCOUNT_KEYS,
    "listNetworkVolumes": LIST_NETWORK_VOLUMES,
    "createNetworkVolume": CREATE_NETWORK_VOLUME,
    "deleteNetworkVolume": DELETE_NETWORK_VOLUME,
    "listTemplates": LIST_TEMPLATES,
    "createTemplate": CREATE_TEMPLATE,
    "deleteTemplate": DELETE_TEMPLATE,
}

# what an operation belongs to; those that are not named, to pods
CAPABILITIES: Mapping[str, Capability] = {
    "createSpotPod": Capability.SPOT,
    "startSpotPod": Capability.SPOT,
    "startPodWithoutGpus": Capability.START_WITHOUT_GPUS,
    "renamePod": Capability.RENAME,
    "listGpuTypes": Capability.CATALOG,
    "listCpuTypes": Capability.CATALOG,
    "listDataCenters": Capability.CATALOG,
    "getAccount": Capability.BALANCE,
    "listAccountKeys": Capability.ACCOUNT_KEYS,
    "replaceAccountKeys": Capability.ACCOUNT_KEYS,
    "listNetworkVolumes": Capability.VOLUMES,
    "createNetworkVolume": Capability.VOLUMES,
    "deleteNetworkVolume": Capability.VOLUMES,
    "listTemplates": Capability.TEMPLATES,
    "createTemplate": Capability.TEMPLATES,
    "deleteTemplate": Capability.TEMPLATES,
}
