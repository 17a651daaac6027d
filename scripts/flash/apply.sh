#!/bin/sh
# Installs what lies in /var/lib/glasscast-flash/new, on the board, as root. Ends with the new package running or with
# what was there before, whatever cuts it and whenever; POSIX sh, for dash and busybox.
#
#   apply.sh apply     take what lies in new/; first end what an earlier run left
#   apply.sh undo      back to what was there before the last flash (nothing, if nothing was)
#   apply.sh recover   only end what an earlier run left (a unit calls it at boot while there is something to end)
#
# Reads, under /var/lib/glasscast-flash (F):
#   new/package.deb        package glasscast-agent of this board's architecture
#   new/settings           becomes /etc/default/glasscast-agent, mode 600
#   new/enrolment-code     optional, one line; stands in the settings until the agent has proven itself, then nowhere
#   new/release-keys/*.pem optional; become all of /etc/glasscast/release-keys
#   new/fingerprint        one line: what this flash is, without its code and its run; the same again changes nothing
#   new/user               optional, one line: whose glasses these are
#   new/options            NAME=VALUE lines: id (of the run, for result.json), gate (agent, or none: only install and start),
#                          deadline (seconds the agent has to prove itself, default 120), boot (yes: at first boot, wait for
#                          the network without end: gate=none is then best), capture (no: doctor's capture checks do not count)
#   new/manifest           lines of sha256sum for all of the above, relative to new/; is put last
# Writes there: apply.log (600), result.json (600, by rename; form: applyResult in scripts/flash/board.ts), journal (state of
#   the run; gone when there is nothing to end), before/ (what undo puts back), current/ (what was flashed; no code in it),
#   and /etc/systemd/system/glasscast-flash-recover.service while there is something to end.
# Exit codes: 0 flashed, already, undone; 1 rolled back; 2 refused, nothing changed; 3 broken. recover: also 0 for nothing to do.
# Environment: GLASSCAST_FLASH_ROOT, another root for all these paths (tests).
