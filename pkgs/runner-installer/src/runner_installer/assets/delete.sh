#!/bin/sh
# Delete a runner's folder, and with the last runner the packages that were sent.
# RUNNER_FOLDER. Safe to repeat; says what it did.
set -u
root=$HOME/actions-runner

case $RUNNER_FOLDER in
*/../* | */..) exit 9 ;;
"$root"/?*) ;;
*) exit 9 ;;
esac

if [ -d "$RUNNER_FOLDER" ]; then
	rm -rf -- "$RUNNER_FOLDER" || exit 9
	printf 'deleted=yes\n'
else
	printf 'deleted=absent\n'
fi

for other in "$root"/*/; do
	[ -d "$other" ] && exit 0
done
rm -rf -- "$root/.cache"
rmdir -- "$root" 2>/dev/null
exit 0
