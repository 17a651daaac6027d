# What a board is, as NAME=VALUE lines on standard output; read by board-facts.ts. Changes nothing.
LC_ALL=C
export LC_ALL
flash=/var/lib/glasscast-flash
say() { printf '%s=%s\n' "$1" "$2"; }
say architecture "$(dpkg --print-architecture 2>/dev/null || uname -m)"
say os "$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release 2>/dev/null | head -n 1)"
command -v dpkg >/dev/null 2>&1 && say dpkg yes
[ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1 && say systemd yes
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | sed -n '1s/.* \([0-9.]*\)$/glibc \1/p')"
for folder in /var /usr; do
  say free_kb "$(df -Pk "$folder" 2>/dev/null | awk 'NR == 2 { print $4 }')"
done
for folder in /usr /etc /var/lib; do
  [ -w "$folder" ] || say read_only "$folder"
done
say clock_s "$(date +%s)"
for node in /dev/video*; do
  [ -e "$node" ] && say camera "$node"
done
[ -r /proc/asound/cards ] && sed -n 's/^ *[0-9]* \[\([^ ]*\) *\]: *\(.*\)$/sound=\1: \2/p' /proc/asound/cards
if command -v ffmpeg >/dev/null 2>&1; then
  say ffmpeg "$(ffmpeg -hide_banner -version 2>/dev/null </dev/null | sed -n '1s/^ffmpeg version \([^ ]*\).*/\1/p')"
  ffmpeg -hide_banner -encoders 2>/dev/null </dev/null | awk '$1 ~ /^V/ && $2 ~ /264/ { print "encoder=" $2 }'
fi
installed=$(dpkg-query -W -f='${Status} ${Version}\n' glasscast-agent 2>/dev/null | sed -n 's/^install ok installed //p')
say installed "$installed"
systemctl is-active --quiet glasscast-agent.service 2>/dev/null && say running yes
[ -s /var/lib/glasscast/agent-token.json ] && say token yes
if [ -f "$flash/current/fingerprint" ]; then
  # What somebody changed since is no longer what was flashed.
  if [ "$(dpkg-deb -f "$flash/current/package.deb" Version 2>/dev/null)" = "$installed" ] &&
    cmp -s "$flash/current/settings" /etc/default/glasscast-agent; then
    say fingerprint "$(head -n 1 "$flash/current/fingerprint")"
  else
    say fingerprint changed
  fi
fi
[ -f "$flash/current/user" ] && say user "$(head -n 1 "$flash/current/user")"
[ -f "$flash/journal" ] && say unfinished yes
[ -d "$flash/before" ] && say before yes
for unit in glasscast-flash.service glasscast-flash-recover.service; do
  systemctl is-active --quiet "$unit" 2>/dev/null && say applying yes
done
say end yes
