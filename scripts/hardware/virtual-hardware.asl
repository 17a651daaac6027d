// What the machine of the bench has beside QEMU's own: a battery and a thermal zone, which the kernel's own ACPI drivers drive.
// Both read the register of QEMU's pc-testdev at port 0xE0, which the bench sets from outside: temperature in tenths of a
// kelvin (16 bit), charge in per cent, 1 = charging. 0 is not set yet: 30 °C, full.
DefinitionBlock ("", "SSDT", 2, "GLASS", "BENCH", 1)
{
    Scope (\_SB)
    {
        OperationRegion (KNOB, SystemIO, 0xE0, 4)
        Field (KNOB, DWordAcc, NoLock, Preserve) { TMPK, 16, BPCT, 8, BCHG, 8 }
        Device (BAT0)
        {
            Name (_HID, EisaId ("PNP0C0A"))
            Name (_UID, One)
            Name (_PCL, Package () { \_SB })
            Method (_STA) { Return (0x1F) }
            Name (_BIF, Package () { 1, 1000, 1000, 1, 3700, 50, 20, 10, 10, "BENCH", "1", "LION", "BENCH" })
            Name (STAT, Package () { 1, 100, 1000, 3700 })
            Method (_BST, 0, Serialized)
            {
                Local0 = BPCT
                If (Local0 == 0) { Local0 = 100 }
                Local1 = 1
                If (BCHG != 0) { Local1 = 2 }
                STAT [0] = Local1
                STAT [2] = Local0 * 10
                Return (STAT)
            }
        }
    }
    Scope (\_TZ)
    {
        ThermalZone (TZ0)
        {
            Method (_TMP)
            {
                Local0 = \_SB.TMPK
                If (Local0 == 0) { Local0 = 3032 }
                Return (Local0)
            }
            // 150 °C: the kernel would switch the machine off.
            Name (_CRT, 4232)
        }
    }
}
