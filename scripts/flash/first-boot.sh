#!/bin/sh
# Installs what an image was flashed with, at the board's first boot: runs apply.sh, and goes away with its unit and all
# secrets once that has come to a good end. Cut or failed, it is run again: 30 s later, and at the next boot.
set -u
F=/var/lib/glasscast-flash
UNIT=/etc/systemd/system/glasscast-first-boot.service
LINK=/etc/systemd/system/multi-user.target.wants/glasscast-first-boot.service

if [ -e "$F/armed.json" ]; then
  # Some systems keep the radio off until a country is set.
  command -v rfkill >/dev/null && rfkill unblock wifi
  command -v nmcli >/dev/null && nmcli radio wifi on
fi
if [ -e "$F/new/manifest" ]; then
  sh "$F/apply.sh" apply || exit $?
elif [ -e "$F/journal" ]; then
  sh "$F/apply.sh" recover || exit $?
fi
# In this order: whatever a cut leaves, the next boot comes back here and goes on.
rm -rf "$F/new"
rm -f "$F/armed.json"
sync
rm -f "$LINK" "$UNIT" "$F/first-boot.sh"
sync
systemctl daemon-reload
