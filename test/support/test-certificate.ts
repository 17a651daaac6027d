/** A self-signed certificate for localhost and 127.0.0.1 with its key, for tests only: it protects nothing and is public. */

export const testCertificate = `-----BEGIN CERTIFICATE-----
MIIBszCCAVmgAwIBAgIUHfQ4ciFW8gMOH/jALzIZ02HbiAowCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVR2xhc3NjYXN0IHRlc3QgaW5nZXN0MCAXDTI2MTEyMjE5Mzkx
M1oYDzIxMjYxMDI5MTkzOTEzWjAgMR4wHAYDVQQDDBVHbGFzc2Nhc3QgdGVzdCBp
bmdlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASyPDqV4LbGGlBMhdia7R4V
tKS/uWQivo4FBuj8VVL0Xy5N6wSBDPCapdvoHSuwsOktA27BfY69kopV2ajPFr2q
o28wbTAdBgNVHQ4EFgQUWjwHXgH/g+GFsURnQcFURwwGduowHwYDVR0jBBgwFoAU
WjwHXgH/g+GFsURnQcFURwwGduowDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzAR
gglsb2NhbGhvc3SHBH8AAAEwCgYIKoZIzj0EAwIDSAAwRQIhAKSJuVrZPbLwq47K
sSkGObswcXxQ//bdi0UOG+MFtkS+AiAm7B4hrNru2OvJd6cTz5XSJsNGH3vOoD87
fZeytADkZQ==
-----END CERTIFICATE-----
`;

export const testCertificateKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5byeCqvZ1dPKwYw2
pMdS57zas79Eqa46up+cZHBLiLOhRANCAASyPDqV4LbGGlBMhdia7R4VtKS/uWQi
vo4FBuj8VVL0Xy5N6wSBDPCapdvoHSuwsOktA27BfY69kopV2ajPFr2q
-----END PRIVATE KEY-----
`;
