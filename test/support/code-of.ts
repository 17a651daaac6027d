/** What comes of something that may be refused: the error's code, or `in`. */
export function codeOf(work: () => unknown): string {
  try {
    work();
    return 'in';
  } catch (error) {
    return (error as { code: string }).code;
  }
}
