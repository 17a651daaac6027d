#!/usr/bin/env node
/** `glasscast-agent` from any folder: TypeScript runs as it is. */
import 'tsx';

await import('../device/main.ts');
