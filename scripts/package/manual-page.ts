/** glasscast-agent(8), from the agent's own table of settings: the page cannot tell of a setting that is not there. */
import { agentSettings } from '../../device/config.ts';

/** @returns roff (man(7)). */
export function manualPage(version: string): string {
  const settings = agentSettings
    .list()
    .flatMap(({ environmentName, flag, about, fallback }) => [
      '.TP',
      `.B ${escaped(flag === undefined ? environmentName : `--${flag}`)}`,
      `${escaped(about)}${fallback === undefined ? '' : ` (default ${escaped(fallback)})`}.`,
    ]);
  return `.\\" Made from the agent's table of settings.
.TH GLASSCAST-AGENT 8 2026-01-01 "Glasscast ${version}" "System Administration"
.SH NAME
glasscast-agent \\- publishes what smart glasses see when the relay asks
.SH SYNOPSIS
.B glasscast-agent
.RB [ run | status | doctor | devices ]
.RI [ flags ]
.SH DESCRIPTION
On the board inside the glasses: waits for the relay's word, takes camera and microphone, and pushes H.264 and AAC by RTMP to
where the relay says. systemd runs it as
.IR glasscast-agent.service .
.SH COMMANDS
.TP
.B run
Publish when the relay asks, until a signal. Also without a word.
.TP
.B status
What the running agent does. Exit status 1: none is running.
.TP
.B doctor
Look at everything that it needs, one after the other. Exit status 1: something needed is missing.
.TP
.B devices
Cameras, microphones and encoders found here.
.PP
.BR status ,
.B doctor
and
.B devices
take the flags too, and
.BR --json .
.SH SETTINGS
Each flag may also be set as GLASSCAST_AGENT_FLAG_NAME, on a board in
.IR /etc/default/glasscast-agent .
After a change:
.B systemctl restart glasscast-agent
${settings.join('\n')}
.SH FILES
.TP
.I /etc/default/glasscast-agent
Settings, mode 600: lines GLASSCAST_AGENT_NAME=value.
.TP
.I /etc/glasscast/release-keys/*.pem
Public keys whose releases are trusted. None there: the agent does not update itself.
.TP
.I /var/lib/glasscast/
The core token and the releases that came by themselves.
.TP
.I /run/glasscast/agent.sock
Where
.B glasscast-agent status
asks.
.SH EXIT STATUS
0 after a clean end, 1 when it could not start or something is missing; one line says why.
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1)
`;
}

/** Of text inside a line: a leading dot and a backslash are commands to roff, and a plain hyphen may become a dash. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('’', "'")
    .replace(/^([.'])/, '\\&$1');
}
