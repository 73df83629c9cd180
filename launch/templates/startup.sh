#!/usr/bin/env bash
# What each machine of a TPU slice runs when it starts: it fetches the code, installs it, and runs
# launch.each_host until nothing is left or it has failed too often; then it says so on the bucket.
#
# Nothing is pasted into this file. What to run is JSON in the attribute lstm-jax of the machine's
# metadata, and goes to Python as a list of arguments that no shell reads.
set -uo pipefail
umask 077
export HOME="${HOME:-/root}"
home="${LSTM_JAX_HOME:-/var/lib/lstm_jax}"
mkdir -p "$home" && cd "$home" || exit 1
log="$home/log.txt"
exec >> "$log" 2>&1
echo "started $(date --utc --iso-8601=seconds)"

attribute() {
  curl --silent --show-error --fail --retry 10 --retry-connrefused \
    --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}
field() {
  python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1" <<< "$job"
}
list() { # NUL-separated, for what a person wrote may hold anything else
  python3 -c 'import json, sys; print(*json.load(sys.stdin)[sys.argv[1]], sep="\0", end="\0")' \
    "$1" <<< "$job"
}

job="$(attribute lstm-jax)" || exit 1
process="$(attribute agent-worker-number)" || process=0
run="$(field run)" || exit 1
LSTM_JAX_COMMIT="$(field commit)" && export LSTM_JAX_COMMIT # the code comes without its history
until="$(field until)" # seconds since 1970 after which nothing new is begun; 0 for no end
mapfile -d '' -t before < <(list before)
mapfile -d '' -t behind < <(list behind)

say_on_bucket() { # started, done, failed or stopped; the end of the log, then the word
  tail --bytes=65536 "$log" > tail.txt
  gcloud storage cp --quiet tail.txt "$run/$process.log"
  tail --lines=1 tail.txt > word.txt
  gcloud storage cp --quiet word.txt "$run/$process.$1"
}

install_code() {
  rm -rf code venv uv && mkdir code || return 1
  gcloud storage cp --quiet "$(field code)" code.tar.gz || return 1
  echo "$(field sha256)  code.tar.gz" | sha256sum --check --status || return 1
  tar --extract --gzip --file code.tar.gz --directory code --no-same-owner || return 1
  # uv brings a Python where the machine's own is too old.
  python3 -m pip install --quiet --target uv uv || return 1
  PYTHONPATH=uv python3 -m uv venv --quiet --python '>=3.11,<3.14' venv || return 1
  PYTHONPATH=uv python3 -m uv pip install --quiet --python venv/bin/python \
    --constraint code/requirements.lock --editable './code[tpu]'
}

told=0 child=
trap 'told=1; [ -z "$child" ] || kill -TERM "$child"' TERM INT

left() { # seconds to go
  if [ "$until" = 0 ]; then echo 360000; else echo $((until - $(date +%s))); fi
}

run_once() {
  local flags=()
  if [ "$until" != 0 ]; then
    flags=("--max_hours=$(python3 -c 'import sys; print(int(sys.argv[1]) / 3600)' "$(left)")")
  fi
  (cd code && exec ../venv/bin/python "${before[@]}" "${flags[@]}" -- "${behind[@]}") &
  child=$!
  wait "$child"
  local status=$?
  while kill -0 "$child" 2> /dev/null; do # a signal ends the waiting, not the child
    wait "$child"
    status=$?
  done
  child=
  return "$status"
}

finished() { # asks the rows, beside no TPU
  (cd code && JAX_PLATFORMS=cpu ../venv/bin/python "${before[@]}" --dry_run -- "${behind[@]}") |
    grep --quiet '; 0 cohorts to run$'
}

word=failed tries="$(field tries)"
for ((try = 1; try <= tries && told == 0; try++)); do
  if [ "$try" -gt 1 ]; then sleep "$(field pause)" & wait $!; fi
  if [ ! -e installed ]; then
    install_code && touch installed || { echo "installing failed (try $try)"; continue; }
    say_on_bucket started
  fi
  [ "$(left)" -gt 0 ] || { word=stopped; break; }
  run_once && [ "$told" = 0 ] && finished && { word=done; break; }
  echo "launch.each_host did not come to its end (try $try)"
  [ "$(left)" -gt 0 ] || { word=stopped; break; }
done
[ "$told" = 0 ] || exit 0 # the machine is taken away; the next one goes on
say_on_bucket "$word"

# The launcher deletes all this. If it is gone itself, the first machine does, if it may.
if [ "$process" = 0 ]; then
  sleep "$(field linger)" & wait $!
  [ "$told" = 0 ] || exit 0
  gcloud compute tpus queued-resources delete "$(field name)" --project="$(field project)" \
    --zone="$(field zone)" --force --quiet --async
fi
