// Reads the google.rpc details that a refused call carries: grpc-js hands them over still encoded, in the trailing
// metadata `grpc-status-details-bin`. The messages are those of google/rpc/status.proto and error_details.proto.
import protobuf from 'protobufjs';

const { root } = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message BadRequest {
    message FieldViolation { string field = 1; string description = 2; }
    repeated FieldViolation field_violations = 1;
  }
`);
const Status = root.lookupType('google.rpc.Status');

/** The first detail of that kind ('ErrorInfo', 'BadRequest') that the error carries, or undefined. */
export function detail(error, kind) {
  const [encoded] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!encoded) return undefined;
  const any = Status.decode(encoded).details.find(({ typeUrl }) => typeUrl.endsWith(`/google.rpc.${kind}`));
  return any && root.lookupType(`google.rpc.${kind}`).decode(any.value);
}
