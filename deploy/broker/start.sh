#!/bin/sh
# Starts the broker with the password of a file, which then stands on no command line and in no
# environment. Arguments are further configuration files: start.sh /etc/broker/tls.conf
set -eu
umask 077
secret=${BROKER_PASSWORD_FILE:-/run/secrets/broker-password}
directory=${BROKER_DIRECTORY:-/run/broker}
# in quotes, with \ and " escaped: a password may hold anything but a line's end
password=$(sed 's/[\\"]/\\&/g' "$secret")
[ -n "$password" ] || { echo "start.sh: there is no password in $secret" >&2; exit 2; }
printf 'requirepass "%s"\n' "$password" >"$directory/password.conf"
cat "${BROKER_CONF:-/etc/broker/valkey.conf}" "$@" >"$directory/broker.conf"
exec "${BROKER:-valkey-server}" "$directory/broker.conf"
