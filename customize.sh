# shellcheck shell=sh
# Sourced by the installers of Magisk, KernelSU and APatch when the module is installed. It ends with abort, never
# with exit, which would end the installer.
if [ "$BOOTMODE" != true ]; then
  abort "! Install this module in the app of your root manager, not in recovery"
fi
if [ ! -f "$MODPATH/bin/ds-$ARCH" ]; then
  abort "! This zip has no ds for the processor of this device (${ARCH:-unknown})"
fi
mv "$MODPATH/bin/ds-$ARCH" "$MODPATH/bin/ds"
rm -f "$MODPATH"/bin/ds-*
set_perm "$MODPATH/bin/ds" 0 0 0755
# The architecture that an installer names can be a guess. The program itself is not.
if ! "$MODPATH/bin/ds" version >/dev/null 2>&1; then
  abort "! ds does not run on this device"
fi
ui_print "- $("$MODPATH/bin/ds" version)"
