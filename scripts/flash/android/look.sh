# What an Android board is, as NAME=VALUE lines on standard output; read by board-facts.ts. Changes nothing.
root=${GLASSCAST_FLASH_ROOT:-}
home=$root/data/glasscast
flash=$root/data/glasscast-flash
say() { printf '%s=%s\n' "$1" "$2"; }
case $(getprop ro.product.cpu.abi) in
  arm64-v8a) say architecture arm64 ;;
  armeabi*) say architecture armhf ;;
  x86_64) say architecture amd64 ;;
  *) say architecture "$(uname -m)" ;;
esac
say os "Android $(getprop ro.build.version.release) ($(getprop ro.product.model))"
# Its columns are the same with and without -P.
set -- $(df -k "$root/data" 2>/dev/null | tail -n 1)
say free_kb "${4:-0}"
say clock_s "$(date +%s)"
for node in "$root"/dev/video*; do
  [ -e "$node" ] && say camera "${node#"$root"}"
done
[ -r "$root/proc/asound/cards" ] && sed -n 's/^ *[0-9]* \[\([^ ]*\) *\]: *\(.*\)$/sound=\1: \2/p' "$root/proc/asound/cards"
if [ -f "$home/current" ]; then
  say installed "$(cat "$home/$(cat "$home/current")/VERSION" 2>/dev/null)"
fi
pid=$(cat "$home/state/supervise.pid" 2>/dev/null)
[ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && say running yes
[ -s "$home/state/agent-token.json" ] && say token yes
[ -f "$flash/current/fingerprint" ] && say fingerprint "$(head -n 1 "$flash/current/fingerprint")"
[ -f "$flash/current/user" ] && say user "$(head -n 1 "$flash/current/user")"
[ -f "$flash/journal" ] && say unfinished yes
[ -d "$flash/before" ] && say before yes
pid=$(cat "$flash/apply.pid" 2>/dev/null)
[ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && say applying yes
[ -s "$root/system/etc/resolv.conf" ] && say resolver yes
say end yes
