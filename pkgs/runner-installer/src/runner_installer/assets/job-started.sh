# shellcheck shell=sh disable=SC2154  # `here` is set by hook.sh in front
# Before the job: note it, turn away repositories that are not allowed, run steps.
stamp busy "started_at=$(now)
"
if [ -s "$here/allowed" ]; then
	case $(tr '[:upper:]' '[:lower:]' <"$here/allowed") in
	*"|$(printf '%s' "${GITHUB_REPOSITORY:-}" | tr '[:upper:]' '[:lower:]')|"*) ;;
	*"|$(printf '%s' "${GITHUB_REPOSITORY%%/*}" | tr '[:upper:]' '[:lower:]')/*|"*) ;;
	*)
		echo "This runner does not take jobs of ${GITHUB_REPOSITORY:-an unknown repository}."
		exit 1
		;;
	esac
fi
steps_of before_job || exit 1
exit 0
