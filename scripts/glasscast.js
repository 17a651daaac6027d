#!/usr/bin/env node
/** `glasscast` from any folder: TypeScript runs as it is, here and in the programs that this one starts. */
import 'tsx';

// What the other programs read to start children: they have to know the loader as well.
process.execArgv.unshift('--import', import.meta.resolve('tsx'));
await import('./glasscast.ts');
