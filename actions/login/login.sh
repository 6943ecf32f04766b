#!/usr/bin/env bash
# Asks GitHub for the job's ID token and logs a client in with it: see action.yml.
# The token is in no command's arguments and in no file of ours.
set -euo pipefail

fail() {
	echo "::error title=sallyport login::$1"
	exit 1
}

registry=$SALLYPORT_REGISTRY audience=${SALLYPORT_AUDIENCE:-$SALLYPORT_REGISTRY}
host='^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$'
[[ $registry =~ $host ]] || fail "registry: write HOST or HOST:PORT, without https:// and without a path"
[[ $audience =~ ^[A-Za-z0-9][A-Za-z0-9._:/@-]*$ ]] || fail "audience: write one of the audiences of the registry's definition"
[[ -n ${ACTIONS_ID_TOKEN_REQUEST_URL:-} && -n ${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-} ]] ||
	fail "GitHub gives this job no identity: give it permissions: {id-token: write} (a pull request of a fork never gets one)"
echo "::add-mask::$ACTIONS_ID_TOKEN_REQUEST_TOKEN"

if [[ $SALLYPORT_CLIENT = helper ]]; then
	command -v sallyport >/dev/null || fail "client: helper needs the program sallyport on PATH"
	bin=$RUNNER_TEMP/sallyport-bin
	mkdir -p "$bin"
	sallyport helper install "$registry" --ambient=github --dir "$bin"
	echo "$bin" >>"$GITHUB_PATH"
	exit 0
fi
case $SALLYPORT_CLIENT in
docker | podman) ;;
*) fail "client: write docker, podman or helper" ;;
esac

answer=$(printf 'Authorization: bearer %s\n' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" |
	curl --silent --show-error --fail --proto =https --max-time 30 --retry 3 --header @- \
		--get --data-urlencode "audience=$audience" "$ACTIONS_ID_TOKEN_REQUEST_URL") ||
	fail "GitHub gave no ID token"
token=$(sed -n 's/.*"value" *: *"\([^"]*\)".*/\1/p' <<<"$answer")
[[ $token =~ ^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$ ]] || fail "what GitHub gave is no ID token"
echo "::add-mask::$token"

printf %s "$token" | "$SALLYPORT_CLIENT" login --username github --password-stdin "$registry" ||
	fail "the registry refused the job: sallyport issuer check --token-stdin, or its log, says why"
