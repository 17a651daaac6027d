/**
 * The official client of Cloudflare's API, as an independent judge of ours. Lies in a folder of its own, since it is 120 MB that
 * nothing else needs. Its types are written down here as far as they are used, so that the compiler asks for no installation.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import type { InputJson, VideoJson } from './local-stream-world.ts';

export const clientFolder = resolve(import.meta.dirname, '../cloudflare-client');

/** The version that is wanted is there. */
export function isClientInstalled(): boolean {
  const read = (file: string) => JSON.parse(readFileSync(join(clientFolder, file), 'utf8')) as Record<string, unknown>;
  try {
    const { cloudflare } = read('package.json').dependencies as { cloudflare: string };
    return read('node_modules/cloudflare/package.json').version === cloudflare;
  } catch {
    return false;
  }
}

type Fields = Record<string, unknown>;
interface Account {
  account_id: string;
}
interface RequestOptions {
  maxRetries?: number;
  timeout?: number;
}
type Call<Params, Result> = (params: Account & Params, options?: RequestOptions) => Promise<Result>;
type CallOf<Params, Result> = (id: string, params: Account & Params, options?: RequestOptions) => Promise<Result>;
interface Page<Item> {
  result: Item[];
}
interface Made {
  id: string;
}

export interface OutputJson {
  uid: string;
  url: string;
  streamKey: string;
  enabled: boolean;
}
export interface KeyJson extends Made {
  pem: string;
  jwk: string;
  created: string;
}
interface DestinationJson extends Made {
  name: string;
  url: string;
  last_success?: string;
}
interface PolicyJson extends Made {
  name: string;
  enabled: boolean;
  filters: object;
}
interface Crud<Shown, Body> {
  create: Call<Body, Made>;
  update: CallOf<Partial<Body>, Made>;
  list: Call<Fields, Page<Shown>>;
  get: CallOf<Fields, Shown>;
  delete: CallOf<Fields, unknown>;
}

export interface CloudflareClient {
  stream: {
    list: Call<Fields, Page<VideoJson>>;
    get: CallOf<Fields, VideoJson>;
    edit: CallOf<Fields, VideoJson & Record<string, unknown>>;
    delete: CallOf<Fields, unknown>;
    liveInputs: {
      create: Call<Fields, InputJson & Record<string, unknown>>;
      update: CallOf<Fields, InputJson & Record<string, unknown>>;
      list: Call<{ include_counts?: boolean }, unknown>;
      get: CallOf<Fields, InputJson & Record<string, unknown>>;
      delete: CallOf<Fields, unknown>;
      outputs: {
        create: CallOf<Fields, OutputJson>;
        update: CallOf<{ live_input_identifier: string; enabled: boolean }, OutputJson>;
        list: CallOf<Fields, Page<OutputJson>>;
        delete: CallOf<{ live_input_identifier: string }, unknown>;
      };
    };
    keys: { create: Call<Fields, KeyJson>; get: Call<Fields, Page<Made>>; delete: CallOf<Fields, unknown> };
    token: { create: CallOf<Fields, { token: string }> };
    webhooks: {
      update: Call<{ notificationUrl: string }, { notificationUrl: string; secret: string }>;
      get: Call<Fields, { notificationUrl: string; secret: string }>;
      delete: Call<Fields, unknown>;
    };
    videos: { storageUsage: Call<{ creator?: string }, { videoCount: number; totalStorageMinutes: number }> };
    directUpload: { create: Call<{ maxDurationSeconds: number }, unknown> };
  };
  alerting: {
    destinations: { webhooks: Crud<DestinationJson, { name: string; url: string; secret?: string }> };
    policies: Crud<PolicyJson, Fields>;
  };
  user: { tokens: { verify(): Promise<{ status: string }> } };
  accounts: { tokens: { verify: Call<Fields, { status: string }> } };
  /** These answer the whole envelope. */
  get(path: string): Promise<{ success: boolean; result: unknown }>;
  post(path: string): Promise<{ success: boolean; result: unknown }>;
}

export interface ClientSettings {
  apiToken: string;
  baseURL: string;
  fetch?: typeof fetch;
  maxRetries?: number;
}

type ErrorClass = new (...args: never[]) => Error;
export type CloudflareClass = (new (
  settings: ClientSettings,
) => CloudflareClient) &
  Record<
    | 'APIConnectionTimeoutError'
    | 'AuthenticationError'
    | 'BadRequestError'
    | 'ConflictError'
    | 'InternalServerError'
    | 'NotFoundError'
    | 'PermissionDeniedError'
    | 'RateLimitError',
    ErrorClass
  >;

/** Takes a second. */
export function loadClient(): CloudflareClass {
  const loaded = createRequire(join(clientFolder, 'package.json'))('cloudflare') as { default: CloudflareClass };
  return loaded.default;
}
