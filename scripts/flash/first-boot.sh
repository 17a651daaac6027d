#!/bin/sh
# Installs what an image was flashed with, at the board's first boot: has apply.sh install it, lets the agent use its one-time
# code, and goes away with its unit and all that is secret. Cut or failed, it is run again: 30 s later, and at the next boot.
#
# Under /var/lib/glasscast-flash/first-boot: new/ (as apply.sh wants it, which uses up its own), code (the one-time code, one
# line; it is kept apart so that the settings have it only until the agent has its token), installed (apply.sh is done).
set -u
umask 077
F=/var/lib/glasscast-flash
ours=$F/first-boot
settings=/etc/default/glasscast-agent
token=/var/lib/glasscast/agent-token.json
unit=/etc/systemd/system/glasscast-first-boot.service
link=/etc/systemd/system/multi-user.target.wants/glasscast-first-boot.service

# $1 what to add, or nothing
settings_with() {
  { sed '/^GLASSCAST_AGENT_ENROLMENT_CODE=/d' "$settings" 2>/dev/null; [ -z "$1" ] || printf '%s\n' "$1"; } >"$settings.new" || return 1
  sync
  mv "$settings.new" "$settings"
}

# Without end: the network may take its time, and nobody is there to start this again.
use_code() {
  while [ ! -s "$token" ]; do
    if ! grep -q '^GLASSCAST_AGENT_ENROLMENT_CODE=' "$settings" 2>/dev/null; then
      settings_with "GLASSCAST_AGENT_ENROLMENT_CODE=$(tr -cd 'A-Za-z0-9_-' <"$ours/code")" || return 1
      systemctl --no-block restart glasscast-agent.service
    fi
    sleep 2
  done
  settings_with '' && sync
}

# Some systems keep the radio off until a country is set.
command -v rfkill >/dev/null && rfkill unblock wifi
command -v nmcli >/dev/null && nmcli radio wifi on

if [ -e "$ours/new/manifest" ] && [ ! -e "$ours/installed" ]; then
  rm -rf "$F/new" && cp -al "$ours/new" "$F/new" || exit 1
  sh "$F/apply.sh" apply || exit $?
  : >"$ours/installed" && sync
fi
if [ -s "$ours/code" ]; then
  use_code || exit 1
fi
# In this order: whatever a cut leaves, the next boot comes back here and goes on.
rm -rf "$F/new"
rm -f "$ours/code"
rm -rf "$ours"
sync
rm -f "$link" "$unit" "$F/first-boot.sh"
sync
systemctl daemon-reload
