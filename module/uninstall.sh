#!/system/bin/sh
# Runs in the first boot after the module was removed; the boot waits for it. Containers and settings are kept,
# unless the file /data/adb/droidspaces/purge exists.
MODDIR=${0%/*}
cd / || exit 1
exec "$MODDIR/bin/ds" module uninstall </dev/null >/dev/null 2>&1
