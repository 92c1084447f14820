# shellcheck shell=sh disable=SC2154  # `here` is set by hook.sh in front
# After the job: run steps, note that it is over.
began=$(sed -n 's/^started_at=//p' "$here/job" 2>/dev/null)
steps_of after_job
ended=$?
stamp idle "started_at=$began
completed_at=$(now)
"
exit "$ended"
