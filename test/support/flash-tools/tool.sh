#!/bin/sh
# Stands for dpkg, systemd and the programs that change files, in a tree of its own ($GLASSCAST_FLASH_ROOT), for apply.sh. Each
# call counts twice, before and after; at number $KILL_AT the whole process group is killed, as a power cut would.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
root=$GLASSCAST_FLASH_ROOT
fake=$root/fake
name=${0##*/}

count() {
  [ -n "${KILL_AT:-}" ] || return 0
  n=$(($(cat "$fake/count" 2>/dev/null || echo 0) + 1))
  echo "$n" >"$fake/count"
  [ "$n" -ne "$KILL_AT" ] || kill -9 0
}
field() { sed -n "s/^$2: //p" "$1"; }
mood() { field "$fake/installed.deb" Mood 2>/dev/null; }
is_configured() { [ "$(cat "$fake/status" 2>/dev/null)" = installed ]; }
new_pid() { n=$(($(cat "$fake/pids" 2>/dev/null || echo 100) + 1)); echo "$n" >"$fake/pids"; echo "$n" >"$fake/running"; }

fake_dpkg() {
  while :; do
    case $1 in
      --force-*) shift ;;
      --print-architecture) echo amd64; return ;;
      --verify)
        cmp -s "$fake/installed.deb" "$root/usr/bin/glasscast-agent.deb" || echo '??5?????? /usr/bin/glasscast-agent.deb'
        [ -d "$root/etc/glasscast/release-keys" ] || echo 'missing     /etc/glasscast/release-keys'
        return
        ;;
      -i)
        [ -f "$2" ] || { echo "dpkg: error: cannot access $2"; return 1; }
        [ ! -f "$fake/full" ] || { echo 'dpkg: error: No space left on device'; return 1; }
        echo half-installed >"$fake/status"
        count
        mkdir -p "$root/etc/glasscast/release-keys" "$root/usr/bin" "$root/var/lib/dpkg/info"
        cp "$2" "$root/usr/bin/glasscast-agent.deb"
        cp "$root/agent-of-tests" "$root/usr/bin/glasscast-agent"
        count
        cp "$2" "$fake/installed.deb"
        cp "$2" "$root/var/lib/dpkg/info/glasscast-agent.md5sums"
        [ "$(mood)" != unconfigurable ] || { echo 'dpkg: error: glasscast-agent depends on moon'; return 1; }
        new_pid
        count
        echo installed >"$fake/status"
        return
        ;;
      --purge)
        echo half-installed >"$fake/status"
        count
        rm -rf "$root/usr/bin" "$fake/installed.deb" "$fake/running" "$fake/enabled" "$fake/status"
        return
        ;;
      *) return 2 ;;
    esac
  done
}
fake_dpkg_query() {
  [ -f "$fake/status" ] || return 1
  case $1 in
    -W) is_configured && echo "install ok installed $(field "$fake/installed.deb" Version)" || echo 'install ok half-installed 0' ;;
    *) return 1 ;;
  esac
}
fake_dpkg_deb() {
  case $1 in
    -f) field "$2" "$3" ;;
    -e) mkdir -p "$3" && cp "$2" "$3/md5sums" ;;
  esac
}
fake_systemctl() {
  [ "$1" != --no-block ] || shift
  case $1 in
    is-active) [ -f "$fake/running" ] ;;
    is-enabled)
      [ ! -f "$fake/masked" ] || { echo masked; return 1; }
      [ -f "$fake/enabled" ]
      ;;
    enable) : >"$fake/enabled" ;;
    disable) rm -f "$fake/enabled" ;;
    stop) rm -f "$fake/running" ;;
    restart) [ -f "$fake/installed.deb" ] && new_pid && echo restart >>"$fake/restarts" ;;
    show)
      [ "$(mood)" != crash ] || [ ! -f "$fake/running" ] || new_pid
      cat "$fake/running" 2>/dev/null || echo 0
      ;;
  esac
}

case $name in dpkg-query | dpkg-deb) ;; *) count ;; esac
case $name in
  dpkg) fake_dpkg "$@" ;;
  dpkg-query) fake_dpkg_query "$@" ;;
  dpkg-deb) fake_dpkg_deb "$@" ;;
  systemctl) fake_systemctl "$@" ;;
  systemd-run)
    while [ "$1" != "$root/usr/bin/glasscast-agent" ]; do shift; done
    "$@"
    ;;
  journalctl) echo 'last words of the agent' ;;
  sync) ;;
  sleep) echo "$(($(cut -d . -f 1 "$root/proc/uptime") + 2)).00" >"$root/proc/uptime" ;;
  timeout)
    shift
    # Fakes come before the real ones again.
    PATH=$root/bin:$PATH
    export PATH
    "$@"
    ;;
  *) "$name" "$@" ;;
esac
code=$?
case $name in dpkg-query | dpkg-deb) ;; *) count ;; esac
exit $code
