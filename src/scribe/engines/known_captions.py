"""Captions that Whisper learned from subtitled videos and writes for noise, music or silence.

Collected from users' reports (github.com/openai/whisper/discussions/928, 1873, 2412, 2608) and from studies of
non-speech audio (Baranski et al., ICASSP 2025). Grouped by how likely a person is to say them.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Literal

Kind = Literal["credit", "sayable credit", "farewell", "everyday"]

# Credits of subtitles, which nobody says. Names that occur in such a line, with any wording and year:
MAKERS = """
amara.org | mooji.org | castingwords | soustitreur | société radio-canada | stephanie geiges | copyright wdr
ndr live untertitelt | qtss | alimmenta | adriana zanotto | nicolai winther | jesper buhl | svensktextning | textning.nu
johnyx | authorwave | altyazı m.k. | dimatorzok | синецкая | а.егорова | нанси канкар | نانسي قنقر
明镜与点点 | 明鏡與點點 | 明镜需要您的支持 | 优优独播剧场 | 優優獨播劇場 | ghiền mì gõ | la la school
"""
# How a credit begins.
CREDITS = """
subtitles by | subtitle by | subtitled by | captioned by
untertitel im auftrag | untertitelung im auftrag | untertitelung des | untertitel der amara | untertitel von
sous-titrage st | sous-titrage fr | sous-titres par | sous-titres réalisés | sottotitoli a cura di | sottotitoli creati
subtitulado por | subtítulos por la comunidad | subtítulos realizados por | legendas pela comunidade
ondertiteld door | ondertitels ingediend | ondertiteling door | teksting av | norsk teksting | tekstet av | undertekster av
danske tekster af | undertexter från | napisy stworzone | napisy wykonane | tłumaczenie i napisy | titulky vytvořil
a feliratot készítette | субтитры сделал | субтитры создавал | субтитры добавил | субтитры подогнал | редактор субтитров
субтитрувальниця | субтитри створено | ترجمة نانسي | תרגום וכתוביות | כתוביות על ידי
字幕由 | 字幕志愿者 | 字幕志願者 | 中文字幕志 | 字幕製作 | 字幕制作 | 小編字幕 | 请不吝点赞 | 請不吝點贊
한글자막 by | 자막 제공 | 자막 by | hãy subscribe cho kênh | sari kata oleh
"""

# Credits that may also begin a spoken sentence.
SAYABLE_CREDITS = "captions by | transcribed by | transcription by | translated by"

# Farewells of videos. People may say them to an audience, but rarely alone between two pauses.
FAREWELLS = """
thanks for watching | thank you for watching | thank you so much for watching | thank you very much for watching
thanks for watching everyone | thank you for your watching | thanks for listening | please subscribe
please subscribe to my channel | subscribe to my channel | like and subscribe | don't forget to subscribe
don't forget to like and subscribe | see you in the next video | i'll see you in the next video | see you next video
see you next time | to be continued | the end
vielen dank fürs zuschauen | danke fürs zuschauen | vielen dank für's zuschauen | vielen dank fürs ansehen
danke fürs zusehen | bis zum nächsten mal | bis zum nächsten video | swr 2020 | swr 2021
merci d'avoir regardé | merci d'avoir regardé cette vidéo | merci d'avoir regardé la vidéo | abonnez-vous
abonnez-vous à la chaîne | n'oubliez pas de vous abonner
gracias por ver | gracias por ver el video | muchas gracias por ver el video | suscríbete | suscríbete al canal
no olvides suscribirte | hasta la próxima | nos vemos en el próximo video
obrigado por assistir | obrigada por assistir | inscreva-se no canal | se inscreva no canal | até o próximo vídeo
gràcies per veure el vídeo | grazie per la visione | grazie per aver guardato | iscrivetevi al canale
grazie per aver guardato il video | alla prossima
bedankt voor het kijken | dank u voor het kijken | tot de volgende keer
tack för att du tittade | tack för att ni tittade | tack för att du har tittat | tack för visningen
takk for at du så på | takk for at du så med | takk for at du så på videoen | tak fordi du så med
tak for at du så med | kiitos kun katsoit | kiitos katsomisesta | kiitos että katsoitte
dziękuję za uwagę | dziękuję za oglądanie | dziękuję za obejrzenie | dzięki za oglądanie | zapraszam do subskrypcji
děkuji za sledování | děkujeme za sledování | děkuji za zhlédnutí | děkuji za pozornost | ďakujem za pozornosť
köszönöm, hogy megnézted | köszönöm, hogy megnéztétek | köszönöm a figyelmet | köszi, hogy megnézted
mulțumesc pentru vizionare | mulțumim pentru vizionare | vă mulțumim pentru vizionare | nu uitați să vă abonați
nu uitați să dați like și subscribe | hvala što pratite kanal | hvala na gledanju | hvala vam na gledanju
ευχαριστώ που παρακολουθήσατε | ευχαριστούμε που παρακολουθήσατε
izlediğiniz için teşekkürler | izlediğiniz için teşekkür ederim | izlediğiniz için teşekkür ederiz
abone olmayı unutmayın | kanalıma abone olmayı unutmayın | yorumlarınızıza abone olmayı unutmayın | abone olun
спасибо за просмотр | спасибо за внимание | продолжение следует | подписывайтесь на канал | подпишитесь на канал
подписывайтесь на наш канал | до новых встреч | ставьте лайки и подписывайтесь на канал
дякую за перегляд | дякуємо за перегляд | дякую за увагу | підписуйтесь на наш канал | продовження буде
благодаря за гледането | благодаря ви за гледането
شكرا للمشاهدة | شكرا على المشاهدة | شكرا لكم على المشاهدة | شكرا لمتابعتكم | اشتركوا في القناة | اشترك في القناة
لا تنسوا الاشتراك في القناة | با تشکر از توجه شما | ممنون که تماشا کردید
תודה שצפיתם | תודה על הצפייה | תודה שצפית
देखने के लिए धन्यवाद | वीडियो देखने के लिए धन्यवाद | चैनल को सब्सक्राइब करें | দেখার জন্য ধন্যবাদ
ขอบคุณที่รับชม | ขอบคุณสำหรับการรับชม | โปรดติดตามตอนต่อไป | อย่าลืมกดติดตาม
cảm ơn các bạn đã theo dõi | cảm ơn các bạn đã xem video | cảm ơn các bạn đã theo dõi và hẹn gặp lại
hẹn gặp lại các bạn trong những video tiếp theo | hãy đăng ký kênh để ủng hộ kênh của mình nhé
terima kasih telah menonton | terima kasih sudah menonton | terima kasih kerana menonton
sampai jumpa di video selanjutnya | jangan lupa subscribe
ご視聴ありがとうございました | ご視聴ありがとうございます | 最後までご視聴いただきありがとうございました | ご覧いただきありがとうございます
見てくれてありがとう | チャンネル登録お願いします | チャンネル登録をお願いします | チャンネル登録よろしくお願いします
チャンネル登録をよろしくお願いします | 次の動画でお会いしましょう | また次の動画でお会いしましょう | また次回お会いしましょう
次回もお楽しみに
谢谢观看 | 謝謝觀看 | 感谢观看 | 感謝觀看 | 谢谢收看 | 謝謝收看 | 感谢收看 | 感謝收看 | 感谢您的观看 | 謝謝您的觀看 | 多謝您的觀看
谢谢大家观看 | 谢谢观看下集再见 | 请订阅 | 請訂閱 | 下期再见 | 下集再见 | 我们下期再见
시청해 주셔서 감사합니다 | 끝까지 시청해 주셔서 감사합니다 | 영상 시청해 주셔서 감사합니다 | 구독과 좋아요 부탁드립니다
다음 영상에서 만나요 | 오늘 영상은 여기까지입니다 | mbc 뉴스 | kbs 뉴스 | sbs 뉴스 | mbc 뉴스입니다
mbc 뉴스 이덕영입니다 | mbc 뉴스 김성현입니다 | tv gelderland 2021 | tv gelderland 2020
"""

# Everyday words that Whisper also writes for a click, by language.
EVERYDAY = {
    "ar": "شكرا | شكرا لكم | موسيقى",
    "cs": "děkuji | děkujeme",
    "da": "tak | tak skal du have | farvel",
    "de": "vielen dank | danke | danke schön | tschüss",
    "el": "ευχαριστώ | σας ευχαριστώ | ευχαριστώ πολύ",
    "en": "thank you | thanks | thank you very much | thank you so much | thank you all | bye | bye bye | goodbye | you"
    " | music | applause",
    "es": "gracias | muchas gracias | adiós | música",
    "fa": "ممنون | متشکرم | با تشکر",
    "fi": "kiitos | kiitoksia",
    "fr": "merci | merci beaucoup | merci à tous | au revoir | musique",
    "he": "תודה | תודה רבה | מוזיקה",
    "hi": "धन्यवाद | शुक्रिया",
    "hu": "köszönöm | köszönöm szépen | viszlát",
    "id": "terima kasih",
    "it": "grazie | grazie mille | grazie a tutti | musica",
    "ja": "ありがとうございました | ありがとうございます | ありがとう | おやすみなさい | 音楽",
    "ko": "감사합니다 | 고맙습니다",
    "nl": "bedankt | dank u wel | dank je wel | dankjewel | tot ziens",
    "no": "takk | takk skal du ha | ha det",
    "pl": "dziękuję | dzięki | dziękuję bardzo | muzyka",
    "pt": "obrigado | obrigada | muito obrigado | tchau | música",
    "ro": "mulțumesc | mulțumim | la revedere",
    "ru": "спасибо | большое спасибо | всем пока | музыка | аплодисменты",
    "sv": "tack | tack så mycket | hej då",
    "th": "ขอบคุณครับ | ขอบคุณค่ะ | ขอบคุณ",
    "tr": "teşekkürler | teşekkür ederim | müzik",
    "uk": "дякую | дуже дякую | музика",
    "vi": "cảm ơn | cảm ơn các bạn | tạm biệt",
    "zh": "谢谢 | 謝謝 | 谢谢大家 | 謝謝大家 | 多谢 | 再见",
}

# Letters allowed around a maker, or after the beginning of a credit: years, names, "réalisés par la communauté d'".
AROUND = 48


def kind(text: str, language: str = "") -> Kind | None:
    """Return the kind of caption that the whole text is, or None. Case, punctuation, accents and blanks are ignored.

    Credits and farewells are matched in every language, because Whisper mixes languages in them; everyday words only in
    `language` (an ISO code) and in English. A farewell may be combined with others and with everyday words.
    """
    plain = _plain(text)
    if not plain:
        return None
    if any(part in plain and len(plain) <= len(part) + AROUND for part in _phrases(MAKERS)):
        return "credit"
    if any(plain.startswith(part) and len(plain) <= len(part) + AROUND for part in _phrases(CREDITS)):
        return "credit"
    if any(plain.startswith(part) and len(plain) <= len(part) + AROUND for part in _phrases(SAYABLE_CREDITS)):
        return "sayable credit"
    everyday = {*_phrases(EVERYDAY["en"]), *_phrases(EVERYDAY.get(language, ""))}
    if any(word * (len(plain) // len(word)) == plain for word in everyday):
        return "everyday"
    farewells, found = set(_phrases(FAREWELLS)), False
    for phrase in sorted(farewells | everyday, key=len, reverse=True):
        if phrase in plain:
            plain, found = plain.replace(phrase, ""), found or phrase in farewells
    return "farewell" if found and not plain else None


@functools.cache
def _phrases(table: str) -> tuple[str, ...]:
    return tuple(_plain(phrase) for line in table.splitlines() for phrase in line.split("|") if phrase.strip())


def _plain(text: str) -> str:
    """Return only the letters and digits, in lower case, without accents and (Turkish) dots."""
    apart = unicodedata.normalize("NFKD", text.casefold()).replace("ı", "i")
    return unicodedata.normalize("NFC", "".join(filter(str.isalnum, apart)))
