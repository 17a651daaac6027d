#!/system/bin/sh
# Installs what lies in /data/glasscast-flash/new on an Android board, as root. Ends with the new tree running or with what was
# there before. For mksh and toybox: no awk, no dpkg, no systemd.
#
#   apply.sh apply [ID] | undo [ID] | recover     as apply.sh for Debian
#   apply.sh boot [ROOT]                          as recover, but leaves starting the agent to its caller
#
# Reads new/: tree.tar, settings, enrolment-code, fingerprint, user, options, manifest (see scripts/flash/apply.sh).
# Trees are /data/glasscast/a and b; the file `current` says which one runs. A file, not a link: a rename replaces it in one
# step, and toybox's mv would follow a link to a folder.
# Started at boot by init (an .rc on /system or /vendor) or, where these cannot be written, by Magisk's service.d.
#
# journal, first line (the second is the run's id):
#   trying OLD   the tree beside OLD is being tried; a later run goes back to OLD (`none`: to nothing)
#   undoing      a later run does it again
set -u
umask 077
root=${GLASSCAST_FLASH_ROOT:-}
[ "${1:-}" != boot ] || root=${2:-}
pause=${GLASSCAST_FLASH_PAUSE:-2}
home=$root/data/glasscast
flash=$root/data/glasscast-flash
state=$home/state
magisk=$root/data/adb/service.d
reason= run_id= version=

step() { printf '== %s %s\n' "$1" "$2"; }
option() { sed -n "s/^$2=\([A-Za-z0-9-]*\)\$/\1/p" "$1/options" 2>/dev/null | head -n 1; }
current() { cat "$home/current" 2>/dev/null || echo none; }
other() { case $1 in a) echo b ;; *) echo a ;; esac; }
installed() { cat "$home/$(current)/VERSION" 2>/dev/null; }
is_alive() { [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null; }

write_file() { cat >"$1.new" && sync && mv "$1.new" "$1" && sync; }
write_journal() { printf '%s\n%s\n' "$1" "$run_id" | write_file "$flash/journal"; }

# $1 outcome; the reason is in $reason
write_result() {
  told=$(printf '%s' "$reason" | tr '\000-\037' ' ' | cut -c 1-1500 | sed 's/[\\"]/\\&/g')
  printf '{"id":"%s","outcome":"%s","version":"%s","reason":"%s"}\n' "$run_id" "$1" "$(installed)" "$told" |
    write_file "$flash/result.json"
  step "$1" "$reason"
}

switch_to() {
  if [ "$1" = none ]; then rm -f "$home/current"; else printf '%s\n' "$1" | write_file "$home/current"; fi
}

stop_agent() {
  # At boot nothing runs but our caller.
  [ "$word" != boot ] || return 0
  [ -z "$(getprop init.svc.glasscast)" ] || setprop ctl.stop glasscast
  pid=$(cat "$state/supervise.pid" 2>/dev/null)
  tries=0
  while is_alive "$pid"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 20 ]; then kill -9 "$pid"; else kill "$pid" 2>/dev/null; fi
    sleep 1
  done
  rm -f "$state/supervise.pid"
}

# Until the next boot it is ours: init reads a new .rc only then.
start_agent() {
  [ "$word" = boot ] && return
  GLASSCAST_FLASHING=yes setsid sh "$home/supervise" "$root" </dev/null >/dev/null 2>&1 &
}

put_settings() { # $1 folder with settings, or without; $2 a line to add
  if [ -f "$1/settings" ]; then
    { cat "$1/settings"; [ -z "$2" ] || printf '%s\n' "$2"; } | write_file "$home/settings"
  else
    rm -f "$home/settings"
  fi
}

# So that it runs after each boot. Says in `how` where.
put_starter() {
  for folder in "$root/system/etc/init" "$root/vendor/etc/init"; do
    [ -d "$folder" ] || continue
    [ -f "$folder/glasscast.rc" ] && cmp -s "$home/glasscast.rc" "$folder/glasscast.rc" && return 0
    mount -o remount,rw "${folder%/etc/init}" >/dev/null 2>&1 || mount -o remount,rw "$root/" >/dev/null 2>&1
    if cp "$home/glasscast.rc" "$folder/glasscast.rc" 2>/dev/null; then
      chmod 644 "$folder/glasscast.rc"
      step starter "init starts it: ${folder#"$root"}/glasscast.rc"
      return 0
    fi
  done
  if [ -d "$root/data/adb/magisk" ] || [ -d "$magisk" ]; then
    mkdir -p "$magisk" && printf '#!/system/bin/sh\nexec setsid sh /data/glasscast/supervise </dev/null >/dev/null 2>&1 &\n' |
      write_file "$magisk/glasscast.sh" && chmod 755 "$magisk/glasscast.sh" || return 1
    step starter 'Magisk starts it: /data/adb/service.d/glasscast.sh'
    return 0
  fi
  reason='nothing would start it at the next boot: /system and /vendor cannot be written (adb disable-verity, then adb reboot), and there is no Magisk'
  return 1
}

remove_starter() {
  for folder in "$root/system/etc/init" "$root/vendor/etc/init"; do
    [ -f "$folder/glasscast.rc" ] || continue
    mount -o remount,rw "${folder%/etc/init}" >/dev/null 2>&1 || mount -o remount,rw "$root/" >/dev/null 2>&1
    rm -f "$folder/glasscast.rc"
  done
  rm -f "$magisk/glasscast.sh"
}

# Whole seconds that never go back.
uptime_s() { cut -d . -f 1 /proc/uptime; }

# The relay has accepted it, three looks in a row, within the deadline.
prove() {
  deadline=$(option "$flash/new" deadline)
  end=$(($(uptime_s) + ${deadline:-120}))
  good=0
  reason='the agent did not start'
  step gate "the agent has ${deadline:-120} s to prove itself"
  while [ "$(uptime_s)" -lt "$end" ]; do
    if timeout 20 sh "$home/$(current)/launch" status --json >"$flash/status.out" 2>/dev/null </dev/null; then
      if grep -q '^ \{0,2\}{\{0,1\} *"connected": *true' "$flash/status.out"; then
        good=$((good + 1))
        [ "$good" -ge 3 ] && { reason=; return 0; }
      else
        good=0
        cause=$(sed -n 's/^ *"cause": *"\(.*\)",\{0,1\}$/\1/p' "$flash/status.out" | head -n 1)
        reason="the agent does not reach the relay${cause:+: $cause}"
      fi
    else
      good=0
    fi
    sleep "$pause"
  done
  return 1
}

keep_before() {
  rm -rf "$flash/before.new"
  mkdir -p "$flash/before.new" || return 1
  current >"$flash/before.new/tree" || return 1
  for name in fingerprint user; do
    [ ! -f "$flash/current/$name" ] || cp "$flash/current/$name" "$flash/before.new/" || return 1
  done
  [ ! -f "$home/settings" ] || cp "$home/settings" "$flash/before.new/settings" || return 1
  [ ! -f "$state/agent-token.json" ] || cp "$state/agent-token.json" "$flash/before.new/" || return 1
}

# $1 a folder of keep_before
restore() {
  stop_agent
  put_settings "$1" ''
  tree=$(cat "$1/tree")
  switch_to "$tree"
  rm -f "$state/agent-token.json"
  [ ! -f "$1/agent-token.json" ] || cp "$1/agent-token.json" "$state/"
  if [ "$tree" = none ]; then
    remove_starter
    rm -rf "$home"
  else
    start_agent
  fi
}

roll_back() {
  reason=$1
  step restore "$reason"
  tail -n 15 "$state/agent.log" 2>/dev/null >"$flash/failed.log"
  restore "$flash/before.new"
  write_result rolled_back
  # The journal first: without `before.new` it would say that the new one had proven itself.
  rm -f "$flash/journal"
  sync
  rm -rf "$flash/before.new" "$flash/new"
  return 1
}

unpack_tree() { # $1 a or b
  rm -rf "$home/$1" "$home/part"
  mkdir -p "$home/part" && tar -xpf "$flash/new/tree.tar" -C "$home/part" && sync && mv "$home/part" "$home/$1" || return 1
  for name in supervise glasscast.rc; do cp "$home/$1/$name" "$home/$name.new" && mv "$home/$name.new" "$home/$name" || return 1; done
}

apply() {
  run_id=$(option "$flash/new" id)
  if ! (cd "$flash/new" 2>/dev/null && sha256sum -c manifest >/dev/null 2>&1); then
    reason='what was brought over is not complete'
    write_result refused
    return 2
  fi
  # What an earlier upload left is none of this one's.
  for name in enrolment-code user; do
    grep -q "  $name\$" "$flash/new/manifest" || rm -f "$flash/new/$name"
  done
  old=$(current) new=$(other "$(current)")
  mkdir -p "$home" "$state" && chmod 755 "$home"
  step unpack 'the tree, beside the running one'
  # Its tree makes room for the new one.
  [ "$(cat "$flash/before/tree" 2>/dev/null)" != "$new" ] || rm -rf "$flash/before"
  if ! { keep_before && unpack_tree "$new"; }; then
    rm -rf "$home/part" "$home/$new" "$flash/before.new"
    [ "$old" != none ] || rm -rf "$home"
    reason='the tree could not be unpacked: is there room on /data?'
    write_result refused
    return 2
  fi
  write_journal "trying $old" || { reason='the board takes no more files'; write_result refused; return 2; }
  stop_agent
  code=
  [ ! -f "$flash/new/enrolment-code" ] || code="GLASSCAST_AGENT_ENROLMENT_CODE=$(tr -cd 'A-Za-z0-9_-' <"$flash/new/enrolment-code")"
  if ! { put_settings "$flash/new" "$code" && switch_to "$new"; }; then roll_back 'the board takes no more files'; return; fi
  put_starter || { roll_back "$reason"; return; }
  step install "version $(installed)"
  start_agent
  [ "$(option "$flash/new" gate)" = none ] || prove || { roll_back "$reason"; return; }
  commit
}

commit() {
  rm -rf "$flash/before" && mv "$flash/before.new" "$flash/before" && sync
  tidy_up
}

# The new one has proven itself. May be done again.
tidy_up() {
  put_settings "$flash/new" ''
  mkdir -p "$flash/current"
  for name in fingerprint user; do
    rm -f "$flash/current/$name"
    [ ! -f "$flash/new/$name" ] || cp "$flash/new/$name" "$flash/current/"
  done
  reason=
  write_result flashed
  rm -f "$flash/journal"
  sync
  rm -rf "$flash/new"
  is_alive "$(cat "$state/supervise.pid" 2>/dev/null)" || start_agent
}

finish_undo() {
  if [ -d "$flash/before" ]; then
    restore "$flash/before"
    rm -rf "$flash/current"
    if [ -f "$flash/before/fingerprint" ]; then
      mkdir "$flash/current" && cp "$flash/before/fingerprint" "$flash/current/"
      [ ! -f "$flash/before/user" ] || cp "$flash/before/user" "$flash/current/"
    fi
  fi
  reason=
  write_result undone
  rm -rf "$flash/before"
  rm -f "$flash/journal"
  sync
}

undo() {
  [ -d "$flash/before" ] || { reason='there is nothing to go back to'; write_result refused; return 2; }
  step undo 'back to what was there before the last flash'
  write_journal undoing && finish_undo
}

recover() {
  [ -f "$flash/journal" ] || return 0
  { read -r what rest && read -r run_id; } <"$flash/journal"
  step recover "a run was cut while it was $what"
  case $what in
    trying) if [ -d "$flash/before.new" ]; then roll_back 'it was cut before the agent had proven itself'; else tidy_up; fi ;;
    *) finish_undo ;;
  esac
}

word=${1:-}
[ -d "$flash" ] || { echo 'nothing was brought over' >&2; exit 2; }
holder=$(cat "$flash/apply.pid" 2>/dev/null)
if [ "${holder:-$$}" != $$ ] && is_alive "$holder" && grep -q apply.sh "/proc/$holder/cmdline" 2>/dev/null; then
  echo 'another run of apply.sh is under way' >&2
  exit 2
fi
echo $$ >"$flash/apply.pid"
exec >>"$flash/apply.log" 2>&1
case $word in
  apply) recover; apply ;;
  undo) recover; run_id=$(printf '%s' "${2:-}" | tr -cd 'A-Za-z0-9-'); undo ;;
  recover | boot) recover ;;
  *) echo 'apply.sh apply | undo [ID] | recover'; false ;;
esac
code=$?
rm -f "$flash/apply.pid"
exit "$code"
