/**
 * The small shell program that drives the privacy light. It answers each line with `lit` or `out`, by looking, and puts the
 * light out when its input ends: so also when the agent was killed and could do nothing more. Holds no policy.
 */
import { GlasscastError } from '../../shared/errors.ts';

/** `led`: a LED of the kernel's, by its name. `gpio`: an output line, by the chip's name or number and the line's number. */
export type PrivacyLightDriver = { kind: 'led'; name: string } | { kind: 'gpio'; chip: string; line: string };

export interface KeeperCommand {
  file: string;
  args: string[];
}

/**
 * `led:NAME` or `gpio:CHIP/LINE`, e.g. `led:white:camera`, `gpio:gpiochip0/17`.
 * @throws GlasscastError INVALID_CONFIG
 */
export function parsePrivacyLight(text: string): PrivacyLightDriver {
  const name = /^led:([\w.:+-]+)$/.exec(text)?.[1];
  if (name !== undefined && !/^\.+$/.test(name)) return { kind: 'led', name };
  const [, chip, line] = /^gpio:(?:\/dev\/)?(\w[\w.-]*)\/(\d+)$/.exec(text) ?? [];
  if (chip !== undefined && line !== undefined) return { kind: 'gpio', chip, line };
  throw new GlasscastError('INVALID_CONFIG', { reason: 'expected led:NAME or gpio:CHIP/LINE' });
}

/** Nobody's signal may end the keeper before the light is out. */
const DEAF = "trap '' ABRT HUP INT QUIT TERM";

/** `light` and `answer` are the driver's; any other line than `light` only asks. */
const LOOP = 'while read -r order; do [ "$order" = light ] && light; answer; done';

/**
 * A trigger (heartbeat, disk activity) would take the LED out of our hands. One that is `[none]` is left alone: boards allow the
 * agent's user the brightness, seldom the trigger. What is written is believed when read back.
 */
const LED = `${DEAF}
cd "$1" || exit 1
is_free() {
  [ ! -e trigger ] || { read -r triggers < trigger && case "$triggers" in *'[none]'*) ;; *) false ;; esac; }
}
light() {
  { is_free || echo none > trigger; } && read -r max < max_brightness && echo "$max" > brightness
}
answer() {
  if read -r now < brightness && [ "$now" = "$max" ] && [ "$now" -gt 0 ]; then echo lit; else echo out; fi
}
${LOOP}
echo 0 > brightness && read -r now < brightness && [ "$now" = 0 ]`;

/**
 * A line keeps its value only while some process holds it; the one that does must be alive and no zombie. What a line is
 * after that is up to the chip, so at the end 0 is set once more. libgpiod 1 and 2 differ in their flags.
 */
const GPIO = `${DEAF}
chip=$1 line=$2 held=
case "$(gpioset --version)" in
  *' v1.'*) first() { $within gpioset --mode=signal "$chip" "$line=1"; }; last() { gpioset "$chip" "$line=0"; } ;;
  *) first() { $within gpioset --chip "$chip" "$line=1"; }; last() { gpioset --toggle 0 --chip "$chip" "$line=0"; } ;;
esac
within=exec
command -v setpriv > /dev/null && within='exec setpriv --pdeathsig KILL --'
is_held() {
  [ -n "$held" ] && read -r stat < "/proc/$held/stat" && case "$stat" in *') Z '*) false ;; esac
} 2> /dev/null
light() {
  is_held && return
  first < /dev/null > /dev/null & held=$!
  sleep 0.1
}
answer() {
  if is_held; then echo lit; else echo out; fi
}
${LOOP}
[ -n "$held" ] && kill -9 "$held" 2> /dev/null
wait
last`;

/** @param sysRoot where the kernel's LEDs are found: `/sys`. */
export function keeperCommand(driver: PrivacyLightDriver, sysRoot: string): KeeperCommand {
  const args =
    driver.kind === 'led'
      ? [LED, 'privacy-light', `${sysRoot}/class/leds/${driver.name}`]
      : [GPIO, 'privacy-light', driver.chip, driver.line];
  return { file: '/bin/sh', args: ['-c', ...args] };
}
