#!/bin/sh
# Writes deploy/.env, or the file that is named, with fresh random secrets, once: an existing file is left as it is.
set -eu
file="${1:-$(dirname "$0")/.env}"
if [ -e "$file" ]; then
    echo "$file is there already" >&2
    exit 0
fi
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
cat >"$file.new" <<END
# Secrets of this installation. Keep a copy where you keep passwords: without SENSORIUM_SECRET_KEY no stored access token can be shown again.
SENSORIUM_SECRET_KEY=$(random)
RABBITMQ_PASSWORD=$(random)
REDIS_PASSWORD=$(random)
POSTGRES_PASSWORD=$(random)
GRAFANA_PASSWORD=$(random)

# Where the gateway listens: address and port on this machine
SENSORIUM_LISTEN=127.0.0.1:8000
END
mv "$file.new" "$file"
echo "wrote $file" >&2
