# shellcheck shell=sh
# What root managers do with modules when the machine boots: what was removed and what was updated at post-fs-data,
# then the scripts at late_start. $MANAGER says which one this is.
cd /data/adb || exit 1
for module in modules/*/; do
  [ -f "${module}remove" ] || continue
  if [ -f "${module}uninstall.sh" ]; then busybox sh "/data/adb/${module}uninstall.sh"; fi
  rm -rf "$module"
done
for module in modules_update/*/; do
  [ -d "$module" ] || continue
  id=$(basename "$module")
  if [ -f "modules/$id/disable" ]; then : >"$module/disable"; fi
  rm -rf "modules/$id"
  mkdir -p modules
  mv "$module" "modules/$id"
done
rm -rf modules_update
# Magisk shows what a module has in system/; here, its links are enough.
if [ "$MANAGER" = magisk ]; then
  for module in modules/*/; do
    if [ -d "${module}system/bin" ] && [ ! -f "${module}disable" ]; then cp -P "$module"system/bin/* /system/bin/; fi
  done
fi
for module in modules/*/; do
  if [ -f "${module}service.sh" ] && [ ! -f "${module}disable" ]; then
    # No process waits for it, and its output is lost.
    (
      if [ "$MANAGER" = magisk ]; then cd /; else cd "$module" && umask 0; fi
      exec busybox sh "/data/adb/${module}service.sh"
    ) >/dev/null 2>&1 &
  fi
done
wait
