#!/bin/sh
# What the runner's job hooks have in common; it is put in front of both.
# They run with `bash -e` as the runner's user, around the job.
set +e
here=$(cd "$(dirname "$0")" && pwd)
umask 022

# Keep what is known of the job in `job`, as key=value lines: stamp busy|idle TIMES
stamp() {
	{
		printf 'state=%s\n' "$1"
		printf 'repository=%s\nrun_id=%s\nrun_attempt=%s\njob=%s\nworkflow=%s\n' \
			"${GITHUB_REPOSITORY:-}" "${GITHUB_RUN_ID:-}" "${GITHUB_RUN_ATTEMPT:-}" \
			"${GITHUB_JOB:-}" "${GITHUB_WORKFLOW:-}"
		printf '%s' "$2"
		[ -r "$here/keep" ] && printf 'keep=%s\n' "$(head -n 1 "$here/keep")"
	} >"$here/job.tmp"
	mv "$here/job.tmp" "$here/job"
}

now() {
	date -u +%Y-%m-%dT%H:%M:%SZ
}

# Run the steps of a phase: steps_of before_job|after_job; 1 when one of them failed
steps_of() {
	failed=0
	for file in "$here/$1"-*.step; do
		[ -r "$file" ] || continue
		{
			read -r step_name
			read -r step_limit
			read -r step_policy
		} <"$file"
		echo "Step $step_name ($1)"
		run_step "$step_limit" "$here/$step_name.log" "$(tail -n +4 "$file")"
		step_ended=$?
		tail -c 4096 "$here/$step_name.log"
		[ "$step_ended" = 0 ] && continue
		echo "Step $step_name ended with $step_ended (124: its time was up)."
		[ "$step_policy" = continue ] && continue
		[ "$step_policy" = keep_pod ] && echo "$step_name" >"$here/keep"
		failed=1
		break
	done
	return "$failed"
}
