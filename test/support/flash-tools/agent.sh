#!/bin/sh
# Stands for the agent in the tree of flash-tools: answers by the mood of the package that is installed.
mood=$(sed -n 's/^Mood: //p' "$GLASSCAST_FLASH_ROOT/fake/installed.deb")
case $1-$mood in
  status-good | status-blind) printf '{\n  "connected": true\n}\n' ;;
  status-sick) printf '{\n  "connected": false,\n  "cause": "no such host"\n}\n' ;;
  status-*) exit 124 ;;
  doctor-blind) printf '{\n  "checks": [\n    {\n      "name": "Camera",\n      "isNeeded": true,\n      "state": "bad",\n      "text": "not found"\n    }\n  ]\n}\n' ;;
  doctor-*) printf '{\n  "checks": [\n    {\n      "name": "Camera",\n      "isNeeded": true,\n      "state": "ok",\n      "text": "30 frames"\n    }\n  ]\n}\n' ;;
esac
