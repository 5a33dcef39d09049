#!/system/bin/sh
# The button in the manager's app: shows the running containers.
MODDIR=${0%/*}
cd / || exit 1
exec "$MODDIR/bin/ds" module action </dev/null 2>&1
