"""Copying files and trees to, from and between pods, with no more than sh and tar there.

A copy that is cut off at any moment leaves nothing under the final name. How it is done
stands in `uploads`, `downloads` and `between_pods`.
"""

from runpod_ssh.between_pods import PodPath, copy_between
from runpod_ssh.downloads import download
from runpod_ssh.transfer_streams import Progress
from runpod_ssh.uploads import upload

__all__ = ["PodPath", "Progress", "copy_between", "download", "upload"]
