/**
 * `node --import ./scripts/typescript.js FILE.ts`: runs our TypeScript as tsx does, but leaves functions as they are. tsx
 * gives every function its name by a property of its own, each time it is made: a third of a stream's memory in the relay.
 */
import { register } from 'node:module';

process.setSourceMapsEnabled(true);
register('./typescript-hooks.js', import.meta.url);
