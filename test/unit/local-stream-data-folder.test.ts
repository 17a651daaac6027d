/** The data folder of the local Stream: one at a time, and what is wrong with it in words. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'libsql';
import { describe, expect, it } from 'vitest';
import { openCatalogue } from '../../cloud/local-stream/catalogue.ts';
import { claimDataFolder } from '../../cloud/local-stream/data-folder.ts';
import { temporaryFolder } from '../support/local-stream-world.ts';

describe('the data folder', () => {
  it('belongs to one local Stream at a time', () => {
    const dataDir = join(temporaryFolder(), 'new');
    const release = claimDataFolder(dataDir);
    expect(() => claimDataFolder(dataDir)).toThrow(/another local Stream uses it/);
    release();
    claimDataFolder(dataDir)();
  });

  it('that cannot be used says why, and by its name', () => {
    const folder = temporaryFolder();
    const file = join(folder, 'file');
    writeFileSync(file, '');
    expect(() => claimDataFolder(file)).toThrow(`data folder ${file}: EEXIST`);
    const damaged = join(folder, 'damaged');
    mkdirSync(damaged);
    writeFileSync(join(damaged, 'catalogue.db'), 'no database at all '.repeat(100));
    expect(() => openCatalogue({ dataDir: damaged })).toThrow(`data folder ${damaged}: file is not a database`);
    expect(readFileSync(join(damaged, 'catalogue.db'), 'utf8')).toContain('no database');
  });

  it('with a record that cannot be read does not start half, and quotes nothing of it', () => {
    const dataDir = temporaryFolder();
    openCatalogue({ dataDir }).close();
    const database = new Database(join(dataDir, 'catalogue.db'));
    database.exec(`INSERT INTO videos VALUES ('v', 1, 'secret{')`);
    database.close();
    const catalogue = openCatalogue({ dataDir });
    expect(() => catalogue.videos()).toThrow(/a record of catalogue.db/);
    expect(() => catalogue.videos()).not.toThrow(/secret/);
    catalogue.close();
  });
});
