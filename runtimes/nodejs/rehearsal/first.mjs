// Functions of the rehearsal. There are several, because a module is loaded one time only.
export const handler = async (event) => ({ event });
