/** Viewers by WebRTC without WebRTC: peers that note what they are sent, and are opened and ended by the test. */
import type { WhepOffer } from '../../cloud/local-stream/whep/offer.ts';
import type { WhepPeer, WhepPeerEvents, WhepPeers } from '../../cloud/local-stream/whep/peer.ts';

export interface FakePeer {
  offer: WhepOffer;
  events: WhepPeerEvents;
  pictures: { unit: Buffer; rtpTime: number }[];
  sounds: { packet: Buffer; rtpTime: number }[];
  isClosed: boolean;
}

export interface FakePeers extends WhepPeers {
  made: FakePeer[];
  isClosed: boolean;
}

export function createFakePeers({
  answer = async () => 'v=0\r\nanswer',
}: {
  answer?: () => Promise<string>;
} = {}): FakePeers {
  const peers: FakePeers = {
    made: [],
    isClosed: false,
    async create(offer, events): Promise<WhepPeer> {
      const peer: FakePeer = { offer, events, pictures: [], sounds: [], isClosed: false };
      peers.made.push(peer);
      let refuse: (error: Error) => void = () => {};
      const closed = new Promise<string>((_resolve, reject) => {
        refuse = reject;
      });
      closed.catch(() => {});
      return {
        answer: Promise.race([answer(), closed]),
        sendPicture: (unit, rtpTime) => void peer.pictures.push({ unit, rtpTime }),
        sendSound: (packet, rtpTime) => void peer.sounds.push({ packet, rtpTime }),
        close() {
          peer.isClosed = true;
          refuse(new Error('closed'));
        },
      };
    },
    async close() {
      peers.isClosed = true;
    },
  };
  return peers;
}
