#!/bin/sh
# Installs what lies in /var/lib/glasscast-flash/new, on the board, as root. Ends with the new package running or with
# what was there before, whatever cuts it and whenever. POSIX sh, for dash and busybox.
#
#   apply.sh apply     take what lies in new/; first end what an earlier run left
#   apply.sh undo      back to what was there before the last flash (nothing, if nothing was)
#   apply.sh recover   only end what an earlier run left; a unit calls it at boot while there is something to end
#
# Reads, under /var/lib/glasscast-flash:
#   new/package.deb        package glasscast-agent of this board's architecture
#   new/settings           becomes /etc/default/glasscast-agent, mode 600
#   new/enrolment-code     optional, one line; stands in the settings until the agent has proven itself, then nowhere
#   new/release-keys/*.pem optional; become all of /etc/glasscast/release-keys
#   new/fingerprint        one line: what this flash is, without its code and its run; the same again changes nothing
#   new/user               optional, one line: whose glasses these are
#   new/options            NAME=VALUE lines: id (of the run, for result.json; [A-Za-z0-9-]), gate (agent, or none: install and
#                          start, no more), deadline (seconds the agent has to prove itself, default 120), capture (no:
#                          doctor's capture checks do not count)
#   new/manifest           lines of sha256sum for all of the above, relative to new/; is put last
# Writes there: apply.log, result.json (by rename; its form is applyResult in scripts/flash/board.ts), journal (state of the
#   run; gone when there is nothing to end), work/ (what is being applied), before/ (what undo puts back), current/ (what was
#   flashed, without the code); and while there is something to end /etc/systemd/system/glasscast-flash-recover.service.
# Exit codes: 0 flashed, already, undone, or nothing to recover; 1 rolled back; 2 refused, nothing changed; 3 broken.
# Environment: GLASSCAST_FLASH_ROOT, another root for all these paths; GLASSCAST_FLASH_PAUSE, seconds between looks (tests).
#
# States of the journal, and what a later run does about them. Each step may be done twice.
#   keeping            nothing was changed yet: forget it
#   installing N       install and prove again; after the third time, restore
#   committing         the new one has proven itself: tidy up
#   restoring REASON   put back what was kept
#   undoing            put back what the last flash kept
# The second line is the id of the run.
set -u
umask 077
LC_ALL=C
export LC_ALL

root=${GLASSCAST_FLASH_ROOT:-}
pause=${GLASSCAST_FLASH_PAUSE:-2}
flash=$root/var/lib/glasscast-flash
settings=$root/etc/default/glasscast-agent
keys=$root/etc/glasscast/release-keys
state=$root/var/lib/glasscast
agent=$root/usr/bin/glasscast-agent
units=$root/etc/systemd/system
unit=glasscast-agent.service
package=glasscast-agent
recover_unit=glasscast-flash-recover.service
reason=
run_id=

step() { printf '== %s %s\n' "$1" "$2"; }

# Options are data, never code.
option() { sed -n "s/^$2=\([A-Za-z0-9-]*\)\$/\1/p" "$1/options" 2>/dev/null | head -n 1; }

# Half a folder is never seen under its name.
drop() {
  [ -e "$1" ] || return 0
  rm -rf "$flash/trash"
  mv "$1" "$flash/trash" && rm -rf "$flash/trash"
}

write_journal() {
  printf '%s\n%s\n' "$1" "$run_id" >"$flash/journal.new" && sync && mv "$flash/journal.new" "$flash/journal" && sync
}

installed_version() {
  dpkg-query -W -f='${Status} ${Version}\n' "$package" 2>/dev/null | sed -n 's/^install ok installed //p'
}

# $1 outcome; the reason is in $reason
write_result() {
  told=$(printf '%s' "$reason" | tr '\000-\037' ' ' | cut -c 1-1500 | sed 's/[\\"]/\\&/g')
  printf '{"id":"%s","outcome":"%s","version":"%s","reason":"%s"}\n' "$run_id" "$1" "$(installed_version)" "$told" \
    >"$flash/result.new" && sync && mv "$flash/result.new" "$flash/result.json" && sync
  step "$1" "$reason"
}

# So that a cut by the power is ended without anybody.
arm_recovery() {
  mkdir -p "$units/multi-user.target.wants"
  chmod 755 "$units" "$units/multi-user.target.wants"
  cat >"$flash/unit.new" <<UNIT
[Unit]
Description=Ends a flash of the Glasscast agent that was cut
Wants=network-online.target
After=network-online.target
[Service]
ExecStart=/bin/sh /var/lib/glasscast-flash/apply.sh recover
[Install]
WantedBy=multi-user.target
UNIT
  chmod 644 "$flash/unit.new"
  mv "$flash/unit.new" "$units/$recover_unit"
  ln -sf "../$recover_unit" "$units/multi-user.target.wants/$recover_unit"
}

# The journal goes first: a unit without it finds nothing to do.
end_run() {
  sync
  rm -f "$flash/journal"
  sync
  rm -f "$units/multi-user.target.wants/$recover_unit" "$units/$recover_unit"
}

# The output goes to a file: a daemon that a maintainer script leaves behind would hold a pipe open for ever.
run_dpkg() {
  tries=0
  while :; do
    DEBIAN_FRONTEND=noninteractive timeout 600 dpkg "$@" >"$flash/dpkg.out" 2>&1 </dev/null 9>&-
    code=$?
    cat "$flash/dpkg.out"
    [ "$code" -eq 0 ] && return 0
    tries=$((tries + 1))
    grep -q 'lock' "$flash/dpkg.out" && [ "$tries" -le 24 ] || return 1
    step wait 'another program uses dpkg'
    sleep 5
  done
}

install_package() { run_dpkg --force-confold --force-confdef -i "$1"; }

dpkg_words() { grep -v '^$' "$flash/dpkg.out" 2>/dev/null | grep -i 'error\|depends\|no space\|cannot' | head -n 2 | tr '\n' ' '; }

# $1 out. For a package that somebody else installed: there is nothing else to go back to.
repack() {
  tree=$flash/repack
  rm -rf "$tree"
  mkdir -p "$tree/DEBIAN" && chmod 755 "$tree" "$tree/DEBIAN" || return 1
  dpkg-query -L "$package" | sed 's|^/||; /^\.\{0,1\}$/d' >"$flash/repack.all" || return 1
  # A folder of the package may be a link on the board (/lib): as a link it would lead nowhere in the tree.
  while read -r path; do
    [ -L "$root/$path" ] && grep -q "^$path/" "$flash/repack.all" || printf '%s\n' "$path"
  done <"$flash/repack.all" >"$flash/repack.list"
  (cd "$root/" && tar --no-recursion -cf - -T "$flash/repack.list") | (cd "$tree" && umask 022 && tar -xpf -) || return 1
  dpkg-query -s "$package" | awk '/^Conffiles:/ { skip = 1; next } /^[^ ]/ { skip = 0 } !skip && !/^Status:/' >"$tree/DEBIAN/control"
  for name in preinst postinst prerm postrm conffiles md5sums triggers; do
    [ -f "$root/var/lib/dpkg/info/$package.$name" ] && cp -p "$root/var/lib/dpkg/info/$package.$name" "$tree/DEBIAN/$name"
  done
  dpkg-deb -Zgzip -z1 --build "$tree" "$1.new" >/dev/null && mv "$1.new" "$1"
  built=$?
  rm -rf "$tree" "$flash/repack.list" "$flash/repack.all"
  return "$built"
}

# What restore puts back, complete or not at all.
keep_before() {
  kept=$flash/before.new
  drop "$kept"
  mkdir -p "$kept" || return 1
  version=$(installed_version)
  if [ -z "$version" ]; then
    : >"$kept/none"
  elif [ "$(dpkg-deb -f "$flash/current/package.deb" Version 2>/dev/null)" = "$version" ]; then
    ln "$flash/current/package.deb" "$kept/package.deb" 2>/dev/null || cp "$flash/current/package.deb" "$kept/package.deb" || return 1
  else
    step keep "making a package of $version as it is installed"
    repack "$kept/package.deb" || return 1
  fi
  for name in fingerprint user; do
    [ -f "$flash/current/$name" ] && { cp "$flash/current/$name" "$kept/$name" || return 1; }
  done
  [ -f "$settings" ] && { cp -p "$settings" "$kept/settings" || return 1; }
  [ -d "$keys" ] && { cp -Rp "$keys" "$kept/release-keys" || return 1; }
  keep_state || return 1
  systemctl is-active --quiet "$unit" && : >"$kept/was-active"
  systemctl is-enabled --quiet "$unit" 2>/dev/null && : >"$kept/was-enabled"
  sync
}

# The token and the versions that came by updates; a backlog of media is not worth its room.
keep_state() {
  [ -d "$state/" ] || return 0
  mkdir "$kept/state" || return 1
  for name in agent-token.json releases; do
    [ -e "$state/$name" ] && { cp -Rp "$state/$name" "$kept/state/$name" || return 1; }
  done
  return 0
}

# Fit for a line of settings and for sed.
code_of_work() { tr -cd 'A-Za-z0-9_-' 2>/dev/null <"$flash/work/enrolment-code" | grep .; }

# $1 a folder with settings and release-keys, or without. $2: a line to add
put_settings() {
  if [ -f "$1/settings" ]; then
    mkdir -p "$root/etc/default"
    { cat "$1/settings" && [ -z "$2" ] || printf '%s\n' "$2"; } >"$settings.new" || return 1
    mv "$settings.new" "$settings" || return 1
  else
    rm -f "$settings"
  fi
  rm -rf "$keys"
  [ -d "$1/release-keys" ] || return 0
  mkdir -p "$keys" && chmod 755 "$root/etc/glasscast" "$keys" || return 1
  for pem in "$1"/release-keys/*.pem; do
    [ -f "$pem" ] || continue
    cp "$pem" "$keys/" && chmod 644 "$keys/${pem##*/}" || return 1
  done
}

# The code comes once the package lies there and nothing runs: a start that is cut short could spend it for nothing.
install_new() {
  step install "package $(dpkg-deb -f "$flash/work/package.deb" Version 2>/dev/null)"
  systemctl stop "$unit" 2>/dev/null
  put_settings "$flash/work" '' || { reason='the settings could not be written'; return 1; }
  # A version that came by an update would run in place of the one that is flashed now.
  rm -rf "$state/releases"
  install_package "$flash/work/package.deb" || { reason="dpkg did not install the package: $(dpkg_words)"; return 1; }
  systemctl daemon-reload
  systemctl stop "$unit" 2>/dev/null
  if [ -f "$flash/work/enrolment-code" ]; then
    put_settings "$flash/work" "GLASSCAST_AGENT_ENROLMENT_CODE=$(code_of_work)"
  fi
  start_agent
}

start_agent() {
  systemctl enable "$unit" >/dev/null 2>&1
  systemctl reset-failed "$unit" 2>/dev/null
  # Not to wait for it: the gate does.
  said=$(systemctl --no-block restart "$unit" 2>&1) || { reason="systemd did not start the agent: $said"; return 1; }
}

# Whole seconds that never go back.
uptime_s() { cut -d . -f 1 "$root/proc/uptime"; }

# $1 seconds. $2: connected (the relay has accepted it), or any (it stays up)
prove_running() {
  end=$(($(uptime_s) + $1))
  last=0 good=0 restarts=0
  reason='the agent did not start'
  while [ "$(uptime_s)" -lt "$end" ]; do
    pid=$(systemctl show -p MainPID --value "$unit" 2>/dev/null)
    [ "${pid:-0}" = "$last" ] || { good=0; [ "$last" = 0 ] || restarts=$((restarts + 1)); }
    [ "${pid:-0}" = 0 ] || last=$pid
    if [ "$restarts" -ge 4 ]; then
      reason='the agent ends again and again'
      return 1
    fi
    if [ "${pid:-0}" != 0 ] && systemctl is-active --quiet "$unit"; then
      if [ "$2" = any ] || is_connected; then good=$((good + 1)); else good=0; fi
      [ "$good" -ge 3 ] && { reason=; return 0; }
    elif [ "${pid:-0}" != 0 ]; then
      reason='the agent starts and never says that it is ready'
    fi
    sleep "$pause"
  done
  return 1
}

is_connected() {
  if ! timeout 20 "$agent" status --json >"$flash/status.out" 2>/dev/null </dev/null; then
    reason='the agent runs and tells no status'
    return 1
  fi
  grep -q '^ \{0,2\}{\{0,1\} *"connected": *true' "$flash/status.out" && return 0
  cause=$(sed -n 's/^ *"cause": *"\(.*\)",\{0,1\}$/\1/p' "$flash/status.out" | head -n 1)
  reason="the agent does not reach the relay${cause:+: $cause}"
  return 1
}

# With the unit's settings, in a unit of its own: only systemd reads its settings as it does.
prove_capture() {
  timeout 90 systemd-run --quiet --wait --pipe --collect -p "EnvironmentFile=-/etc/default/glasscast-agent" \
    -E GLASSCAST_AGENT_TOKEN_FILE=/var/lib/glasscast/agent-token.json "$agent" doctor --json \
    >"$flash/doctor.out" 2>/dev/null </dev/null
  if ! grep -q '"checks"' "$flash/doctor.out"; then
    reason="the agent's doctor gives no answer"
    return 1
  fi
  reason=$(awk '/^ *"name":/ { name = $0 } /^ *"state": *"bad"/ { bad = 1 }
    /^ *"text":/ { if (bad && name ~ /"(ffmpeg|Camera|Microphone|Privacy light|Encoder)[^"]*"/ && name !~ /relay/) {
      gsub(/^ *"name": *"|",? *$/, "", name); text = $0; gsub(/^ *"text": *"|",? *$/, "", text); printf "%s: %s. ", name, text }
      bad = 0 }' "$flash/doctor.out")
  [ -z "$reason" ]
}

gate() {
  [ "$(option "$flash/work" gate)" = none ] && return 0
  deadline=$(option "$flash/work" deadline)
  step gate "the agent has ${deadline:-120} s to prove itself"
  prove_running "${deadline:-120}" connected || return 1
  [ "$(option "$flash/work" capture)" = no ] && return 0
  prove_capture
}

commit() {
  if [ -f "$settings" ] && grep -q '^GLASSCAST_AGENT_ENROLMENT_CODE=' "$settings"; then
    sed '/^GLASSCAST_AGENT_ENROLMENT_CODE=/d' "$settings" >"$settings.new" && mv "$settings.new" "$settings"
  fi
  if [ -d "$flash/before.new" ]; then
    drop "$flash/before"
    mv "$flash/before.new" "$flash/before"
  fi
  if [ -d "$flash/work" ]; then
    drop "$flash/current"
    rm -f "$flash/work/enrolment-code"
    mv "$flash/work" "$flash/current"
  fi
  reason=
  write_result flashed
  end_run
}

# Same files in place: then nothing has to be unpacked, for which a full disk may have no room.
is_intact() {
  [ -n "$(installed_version)" ] || return 1
  [ "$(installed_version)" = "$(dpkg-deb -f "$1/package.deb" Version)" ] || return 1
  rm -rf "$flash/compare"
  dpkg-deb -e "$1/package.deb" "$flash/compare" || return 1
  cmp -s "$flash/compare/md5sums" "$root/var/lib/dpkg/info/$package.md5sums" || return 1
  rm -rf "$flash/compare"
  # Settings are put back in any case.
  ! dpkg --verify "$package" 2>/dev/null | grep -qv ' c '
}

# $1 a folder of keep_before
restore() {
  systemctl stop "$unit" 2>/dev/null
  if [ -f "$1/none" ]; then
    if dpkg-query -W "$package" >/dev/null 2>&1; then
      run_dpkg --force-remove-reinstreq --purge "$package" || { reason="dpkg did not remove the package: $(dpkg_words)"; return 1; }
    fi
  elif ! is_intact "$1"; then
    put_settings "$1" ''
    install_package "$1/package.deb" || { reason="dpkg did not install what was there before: $(dpkg_words)"; return 1; }
    systemctl stop "$unit" 2>/dev/null
  fi
  put_settings "$1" '' || { reason='the settings of before could not be written'; return 1; }
  restore_state "$1"
  systemctl daemon-reload
  if [ -f "$1/none" ]; then return 0; fi
  if [ -f "$1/was-enabled" ]; then systemctl enable "$unit" >/dev/null 2>&1; else systemctl disable "$unit" >/dev/null 2>&1; fi
  [ -f "$1/was-active" ] || return 0
  systemctl reset-failed "$unit" 2>/dev/null
  systemctl --no-block restart "$unit"
  prove_running 60 any || { reason="what was there before does not run again: $reason"; return 1; }
}

restore_state() {
  if [ ! -d "$1/state" ] && [ -f "$1/none" ]; then
    rm -rf "$root/var/lib/private/glasscast" "$state"
    return 0
  fi
  for name in agent-token.json releases; do
    rm -rf "${state:?}/$name"
    [ -e "$1/state/$name" ] && mkdir -p "$state/" && cp -Rp "$1/state/$name" "$state/$name"
  done
  return 0
}

# $1 why
roll_back() {
  why=$1
  write_journal "restoring $(printf '%s' "$why" | tr '\000-\037' ' ')"
  step restore "$why"
  # By a file: others can see the arguments of sed.
  printf 's/%s/***/g\n' "$(code_of_work || echo 'no code')" >"$flash/hide.sed"
  journalctl -u "$unit" -n 15 --no-pager -o cat 2>/dev/null | sed -f "$flash/hide.sed" >"$flash/failed.log"
  rm -f "$flash/hide.sed"
  outcome=rolled_back
  # Once it is dropped, everything was put back and told.
  if [ -d "$flash/before.new" ]; then
    restore "$flash/before.new" || { outcome=broken; why="$why; $reason"; }
    reason=$why
    write_result "$outcome"
  fi
  # A person may still want it: undo tries again.
  if [ "$outcome" = broken ]; then drop "$flash/before"; mv "$flash/before.new" "$flash/before"; fi
  # The next try need not bring it over again.
  [ -f "$flash/work/package.deb" ] && mv "$flash/work/package.deb" "$flash/upload-$(package_sum work).part"
  drop "$flash/work"
  drop "$flash/before.new"
  end_run
  [ "$outcome" = rolled_back ] && return 1
  return 3
}

package_sum() { sed -n 's/^\([0-9a-f]\{64\}\)  package\.deb$/\1/p' "$flash/$1/manifest" | head -n 1; }

install_and_prove() {
  write_journal "installing $1" || { roll_back 'the board takes no more files'; return; }
  reason=
  if install_new && gate && write_journal committing; then commit; else roll_back "${reason:-the board takes no more files}"; fi
}

finish_undo() {
  if [ ! -d "$flash/before" ]; then
    outcome=undone reason=
  elif restore "$flash/before"; then
    outcome=undone reason=
  else
    outcome=broken
  fi
  if [ -d "$flash/before" ] && [ "$outcome" = undone ]; then
    drop "$flash/current"
    # Without a fingerprint it was not flashed by us.
    if [ -f "$flash/before/fingerprint" ]; then mv "$flash/before" "$flash/current"; else drop "$flash/before"; fi
  fi
  write_result "$outcome"
  end_run
  [ "$outcome" = undone ] || return 3
}

# Ends what the journal tells of. Exit code of the run that it ends.
recover() {
  rm -rf "$flash/trash" "$flash/repack"
  [ -f "$flash/journal" ] || { rm -f "$units/multi-user.target.wants/$recover_unit" "$units/$recover_unit"; return 0; }
  { read -r word rest && read -r run_id; } <"$flash/journal"
  step recover "a run was cut while it was $word"
  case $word in
    installing)
      if [ "$rest" -ge 3 ]; then roll_back 'it was cut three times while it was installed'; else install_and_prove $((rest + 1)); fi
      ;;
    committing) commit ;;
    restoring) roll_back "$rest" ;;
    undoing) finish_undo ;;
    *)
      [ -d "$flash/work" ] && [ ! -e "$flash/new" ] && mv "$flash/work" "$flash/new"
      drop "$flash/work"
      drop "$flash/before.new"
      reason='it was cut before anything was changed' && write_result refused
      end_run
      return 2
      ;;
  esac
}

refuse() {
  reason=$1
  write_result refused
  return 2
}

# What another flash left or is bringing at this moment is not taken for this one's: a key, a code, half a package.
# $1 a folder with a manifest
is_whole() {
  ( cd "$1" 2>/dev/null && sha256sum -c manifest >/dev/null 2>&1 ) || return 1
  (cd "$1" && find . -type f ! -name manifest) | sed 's|^\./||' | while read -r name; do
    cut -c 67- "$1/manifest" | grep -qxF -e "$name" || rm -f "$1/$name"
  done
}

is_flashed() {
  [ -f "$flash/current/fingerprint" ] && cmp -s "$flash/current/fingerprint" "$flash/new/fingerprint" &&
    [ ! -f "$flash/new/enrolment-code" ] && systemctl is-active --quiet "$unit" && cmp -s "$flash/new/settings" "$settings" &&
    [ "$(installed_version)" = "$(dpkg-deb -f "$flash/new/package.deb" Version)" ]
}

apply() {
  run_id=$(option "$flash/new" id)
  is_whole "$flash/new" || { refuse 'what was brought over is not complete'; return; }
  [ "$(dpkg-deb -f "$flash/new/package.deb" Package 2>/dev/null)" = "$package" ] || { refuse "that is no package of $package"; return; }
  wanted=$(dpkg-deb -f "$flash/new/package.deb" Architecture)
  case $wanted in
    all | "$(dpkg --print-architecture)") ;;
    *) refuse "the package is for $wanted, the board is $(dpkg --print-architecture)"; return ;;
  esac
  if is_flashed; then
    reason=
    drop "$flash/new"
    write_result already
    return 0
  fi
  step keep 'what is there now'
  drop "$flash/work"
  if ! { write_journal keeping && mv "$flash/new" "$flash/work"; }; then
    refuse 'the board takes no more files'
    return
  fi
  why=
  is_whole "$flash/work" || why='another flash brought its files over at the same time'
  [ -n "$why" ] || keep_before || why='what is there now could not be kept: is there room?'
  if [ -n "$why" ]; then
    [ -e "$flash/new" ] || mv "$flash/work" "$flash/new"
    drop "$flash/work"
    drop "$flash/before.new"
    end_run
    refuse "$why"
    return
  fi
  arm_recovery
  install_and_prove 1
}

undo() {
  run_id=$1
  [ -d "$flash/before" ] || { refuse 'there is nothing to go back to'; return; }
  step undo 'back to what was there before the last flash'
  arm_recovery
  write_journal undoing || return 3
  finish_undo
}

mkdir -p "$flash" && chmod 700 "$flash" || exit 2
exec 9>"$flash/lock"
waited=0
while command -v flock >/dev/null && ! flock -n 9; do
  waited=$((waited + 1))
  [ "$waited" -le 900 ] || { echo 'another run of apply.sh is under way' >&2; exit 2; }
  sleep 1
done
exec >>"$flash/apply.log" 2>&1
case ${1:-} in
  apply)
    recover
    apply
    ;;
  undo)
    recover
    undo "$(printf '%s' "${2:-}" | tr -cd 'A-Za-z0-9-')"
    ;;
  recover) recover ;;
  *)
    echo 'apply.sh apply | undo [ID] | recover' >&2
    exit 2
    ;;
esac
exit
