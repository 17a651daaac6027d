import { describe, expect, it } from 'vitest';
import { hashSecret } from '../../cloud/access/credentials.ts';
import { CONSOLE_APP, createAppCatalog, maySeeCamera } from '../../cloud/apps/app-catalog.ts';
import { createSqliteStore } from '../../cloud/store/sqlite-store.ts';

const catalog = () => createAppCatalog({ store: createSqliteStore({ file: ':memory:' }) });
const publicUrl = 'http://app.example:8000/';

describe('the app catalogue', () => {
  it('keeps a hash, no key, and fills the gaps', async () => {
    const apps = catalog();
    await apps.put('com.example.cam', { publicUrl, apiKey: 'the-key' });
    const app = await apps.get('com.example.cam');
    expect(app).toEqual({
      packageName: 'com.example.cam',
      publicUrl: 'http://app.example:8000',
      hashedApiKey: hashSecret('the-key'),
      permissions: [{ type: 'CAMERA' }],
      appType: 'background',
      settings: [],
      source: 'rest',
    });
    expect(JSON.stringify(app)).not.toContain('the-key');
    expect(maySeeCamera(app)).toBe(true);
    await apps.delete('com.example.cam');
    await expect(apps.get('com.example.cam')).rejects.toMatchObject({ code: 'PACKAGE_NOT_FOUND' });
    await expect(apps.delete('com.example.cam')).rejects.toMatchObject({ code: 'PACKAGE_NOT_FOUND' });
  });

  it.each([
    ['publicUrl', { apiKey: 'k' }],
    ['publicUrl', { publicUrl: 'ftp://x', apiKey: 'k' }],
    ['apiKey', { publicUrl }],
    ['apiKey', { publicUrl, apiKey: 'k', hashedApiKey: 'a'.repeat(64) }],
    ['hashedApiKey', { publicUrl, hashedApiKey: 'short' }],
    ['permissions.0.type', { publicUrl, apiKey: 'k', permissions: [{ type: 'TELEPATHY' }] }],
    ['settings', { publicUrl, apiKey: 'k', settings: {} }],
    [
      'hardwareRequirements.0.type',
      { publicUrl, apiKey: 'k', hardwareRequirements: [{ type: 'WINGS', level: 'REQUIRED' }] },
    ],
    ['hardwareRequirements.0.level', { publicUrl, apiKey: 'k', hardwareRequirements: [{ type: 'CAMERA' }] }],
    ['app', { publicUrl, apiKey: 'k', webhook: 'x' }],
    ['app', 'nonsense'],
  ])('names a bad %s', async (field, registration) => {
    await expect(catalog().put('com.a', registration)).rejects.toMatchObject({
      code: 'MALFORMED_MESSAGE',
      message: expect.stringContaining(`${field}: `),
    });
  });

  it('refuses bad names and the built-in one', async () => {
    for (const name of ['', 'a b', '../x', CONSOLE_APP]) {
      await expect(catalog().put(name, { publicUrl, apiKey: 'k' })).rejects.toMatchObject({
        code: 'MALFORMED_MESSAGE',
      });
    }
  });

  it('reads a file, or says what is wrong in it', async () => {
    const apps = catalog();
    const file = { 'com.a': { publicUrl, apiKey: 'k' }, 'com.b': { publicUrl, hashedApiKey: hashSecret('k') } };
    expect(await apps.load(JSON.stringify(file))).toBe(2);
    expect((await apps.list()).map(({ packageName }) => packageName)).toEqual(['com.a', 'com.b']);
    await expect(apps.load('{')).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    await expect(apps.load('{"com.a":{"publicUrl":"x"}}')).rejects.toThrow(/com\.a\.publicUrl/);
    expect((await apps.list()).length).toBe(2);
  });

  it('forgets what a later file leaves out, but nothing that REST has registered', async () => {
    const changes: string[] = [];
    const apps = createAppCatalog({
      store: createSqliteStore({ file: ':memory:' }),
      onChange: (name, app) => void changes.push(`${name} ${app?.source ?? 'gone'}`),
    });
    const registration = { publicUrl, apiKey: 'k' };
    await apps.put('com.rest', registration);
    await apps.load(JSON.stringify({ 'com.file': registration, 'com.both': registration, 'com.rest': registration }));
    await apps.put('com.both', registration);
    expect(changes.splice(0)).toEqual([
      'com.rest rest',
      'com.file file',
      'com.both file',
      'com.rest rest',
      'com.both rest',
    ]);
    await apps.load('{}');
    expect(changes.splice(0)).toEqual(['com.file gone']);
    expect((await apps.list()).map(({ packageName }) => packageName)).toEqual(['com.both', 'com.rest']);
    await apps.delete('com.rest');
    expect(changes).toEqual(['com.rest gone']);
  });
});
